package server

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/metadata/providers/memory"
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/x/revoke"

	"countersign/internal/config"
	"countersign/internal/domain/passkey"
	"countersign/internal/front/request"
)

// relyingParty is what passkeys are bound to; nil: the server has no name that
// they could belong to.
func relyingParty(c *config.Config) *passkey.RelyingParty {
	if c.PasskeysOff() != "" {
		return nil
	}
	return &passkey.RelyingParty{ID: c.Passkey.RPID, Name: c.ServiceName, Origins: c.PasskeyOrigins(), Direct: c.Passkey.Attestation == "direct", Lists: c.PasskeyLists()}
}

// mountPasskeys mounts what browsers and password managers look for (W3C: A
// Well-Known URL for Relying Party Passkey Endpoints; WebAuthn §5.11).
func (s *Server) mountPasskeys(routes *request.Router) error {
	related, err := s.config.RelatedOrigins()
	if err != nil {
		return err
	}
	document := func(there bool, v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !there {
				routes.Refuse(w, r, request.ErrNotFound)
				return
			}
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin") // pages of related origins have it read
			h.Set("Access-Control-Allow-Origin", "*")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	rp := s.SignIn.Passkeys
	page := s.config.PublicURL + "/security/passkeys"
	routes.HandleFunc("GET /.well-known/passkey-endpoints", document(rp != nil, map[string]string{"enroll": page + "/new", "manage": page}))
	routes.HandleFunc("GET "+protocol.WellKnownPathWebAuthn, document(rp != nil && len(related) > 0, protocol.RelatedOrigins{Origins: related}))
	return nil
}

// blobMaxBytes is several times what the Metadata Service publishes.
const blobMaxBytes = 64 << 20

// loadMetadata has attestations checked by the file that the settings name.
func (s *Server) loadMetadata() error {
	rp, file := s.SignIn.Passkeys, s.config.Passkey.Metadata
	if rp == nil || !rp.Direct || file == "" {
		return nil
	}
	provider, until, err := Metadata(file)
	if err != nil {
		return err
	}
	if s.clock.Now().After(until) {
		s.log.Warn("the metadata of authenticators is out of date", "passkey_metadata", file, "until", until.Format(time.DateOnly))
	}
	rp.Metadata = provider
	return nil
}

// Metadata reads a BLOB of the FIDO Metadata Service, whose signature must
// chain up to the root of that service. The next one was due on the day
// returned.
func Metadata(file string) (metadata.Provider, time.Time, error) {
	return readMetadata(file, metadata.ProductionMDSRoot)
}

// offline keeps the decoder from asking networks whether certificates were
// revoked: a file is read, and a server starts, wherever they are.
var offline = sync.OnceFunc(func() { revoke.HTTPClient = &http.Client{Transport: nowhere{}} })

type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("metadata is read without the network")
}

func readMetadata(file, root string) (metadata.Provider, time.Time, error) {
	wrong := func(err error) (metadata.Provider, time.Time, error) {
		return nil, time.Time{}, fmt.Errorf("passkey_metadata: %s: %w", file, err)
	}
	offline()
	info, err := os.Stat(file)
	if err != nil {
		return wrong(errors.Unwrap(err))
	}
	if info.Size() > blobMaxBytes {
		return wrong(errors.New("is too large"))
	}
	blob, err := os.ReadFile(file)
	if err != nil {
		return wrong(errors.Unwrap(err))
	}
	decoder, err := metadata.NewDecoder(metadata.WithRootCertificate(root), metadata.WithIgnoreEntryParsingErrors())
	if err != nil {
		return wrong(err)
	}
	payload, err := decoder.DecodeBytes(blob)
	if err != nil {
		return wrong(fmt.Errorf("is no BLOB of the Metadata Service: %w", err))
	}
	if err := publisher(blob); err != nil {
		return wrong(err)
	}
	for n := range payload.Entries { // half of the memory, and nobody looks at them
		payload.Entries[n].MetadataStatement.Icon = ""
	}
	known, err := decoder.Parse(payload)
	if err != nil {
		return wrong(err)
	}
	if len(known.Parsed.Entries) == 0 {
		return wrong(errors.New("describes no authenticators"))
	}
	provider, err := memory.New(memory.WithMetadata(known.ToMap()), memory.WithMetadataKeyIdentifiers(known.ToKeyIdentifierMap()),
		memory.WithValidateEntryKeyIdentifier(true), memory.WithValidateStatusCertificateScope(true))
	if err != nil {
		return wrong(err)
	}
	return provider, known.Parsed.NextUpdate, nil
}

const metadataService = "mds.fidoalliance.org"

// publisher reports an error unless a BLOB, whose signature is right, was
// signed by the Metadata Service: its root has signed for many others too.
func publisher(blob []byte) error {
	first, _, _ := strings.Cut(string(blob), ".")
	var header struct {
		Chain [][]byte `json:"x5c"`
	}
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil || len(header.Chain) == 0 {
		return errors.New("does not say who signed it")
	}
	c, err := x509.ParseCertificate(header.Chain[0])
	if err == nil && c.Subject.CommonName != metadataService {
		err = c.VerifyHostname(metadataService)
	}
	if err != nil {
		return fmt.Errorf("was not signed by %s: %w", metadataService, err)
	}
	return nil
}
