package softkey

import "encoding/base64"

// A Lie changes what a key says.
type Lie func(*Said)

// Origin names another page.
func Origin(origin string) Lie { return func(s *Said) { s.Client.Origin = origin } }

// CrossOrigin says that the page stood in a frame of a foreign one.
func CrossOrigin() Lie { return func(s *Said) { s.Client.CrossOrigin = true } }

// TopOrigin names the page that the frame stood in.
func TopOrigin(origin string) Lie {
	return func(s *Said) { s.Client.TopOrigin = origin }
}

// Type names another ceremony.
func Type(kind string) Lie { return func(s *Said) { s.Client.Type = kind } }

// RPID is the hash of another relying party.
func RPID(id string) Lie { return func(s *Said) { s.RPID = id } }

// Challenge answers another one.
func Challenge(challenge []byte) Lie {
	return func(s *Said) { s.Client.Challenge = base64.RawURLEncoding.EncodeToString(challenge) }
}

// Handle names another user; nil: none.
func Handle(handle []byte) Lie { return func(s *Said) { s.Handle = handle } }

// With answers with the credential, whatever the options ask for.
func With(c *Credential) Lie { return func(s *Said) { s.use(c) } }

// Forged signs with a fresh key for the credential.
func Forged() Lie {
	return func(s *Said) {
		forged := *s.c
		forged.signer = newSigner(ES256)
		s.c = &forged
	}
}

// Set raises flags.
func Set(flags byte) Lie { return func(s *Said) { s.Flags |= flags } }

// Clear lowers flags.
func Clear(flags byte) Lie { return func(s *Said) { s.Flags &^= flags } }

// Flip turns flags round.
func Flip(flags byte) Lie { return func(s *Said) { s.Flags ^= flags } }

// Algorithm makes a key of one that may not have been offered.
func Algorithm(alg int) Lie { return func(s *Said) { s.Alg = alg } }

// ID gives the credential another id.
func ID(id []byte) Lie { return func(s *Said) { s.ID = id } }

// LongID gives it one of n bytes.
func LongID(n int) Lie { return ID(random(n)) }

// Model is another AAGUID.
func Model(aaguid [16]byte) Lie { return func(s *Said) { s.AAGUID = aaguid } }

// Attest is another form of attestation.
func Attest(form string) Lie { return func(s *Said) { s.Attestation = form } }

// Stated is any statement of attestation.
func Stated(format string, statement map[string]any) Lie {
	return func(s *Said) { s.Format, s.Statement = format, statement }
}

// Public is a public key that is not that of the credential: labels of COSE
// and their values.
func Public(key map[int]any) Lie { return func(s *Said) { s.Public = pack(key) } }

// WrongSignature flips a bit of the signature.
func WrongSignature() Lie { return func(s *Said) { s.WrongSignature = true } }

// Count is another value of the counter.
func Count(n uint32) Lie { return func(s *Said) { s.Count = n } }

// AppID says whether the AppID was used; nil: says nothing about it.
func AppID(used any) Lie {
	return func(s *Said) {
		delete(s.Extensions, "appid")
		if used != nil {
			s.Extensions["appid"] = used
		}
	}
}

// Changed changes the JSON of the credential and of its response at the end.
func Changed(f func(credential, response map[string]any)) Lie {
	return func(s *Said) { s.Change = f }
}
