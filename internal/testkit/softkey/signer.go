package softkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
)

// A signer is the private key of a credential.
type signer struct {
	crypto.Signer
	hash crypto.Hash
}

// newSigner draws one of the algorithm.
func newSigner(alg int) signer {
	switch alg {
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		return signer{key, 0}
	case RS256, RS1:
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		must(err)
		if alg == RS1 {
			return signer{key, crypto.SHA1}
		}
		return signer{key, crypto.SHA256}
	default:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		return signer{key, crypto.SHA256}
	}
}

func (s signer) sign(data []byte) []byte {
	if s.hash != 0 {
		h := s.hash.New()
		_, _ = h.Write(data)
		data = h.Sum(nil)
	}
	signature, err := s.Sign(rand.Reader, data, s.hash)
	must(err)
	return signature
}

// cose is the public key (RFC 9052 §7) with the algorithm named.
func (s signer) cose(alg int) []byte {
	switch key := s.Public().(type) {
	case ed25519.PublicKey:
		return pack(map[int]any{1: 1, 3: alg, -1: 6, -2: []byte(key)})
	case *rsa.PublicKey:
		return pack(map[int]any{1: 3, 3: alg, -1: key.N.Bytes(), -2: big.NewInt(int64(key.E)).Bytes()})
	default:
		point := s.point()
		return pack(map[int]any{1: 2, 3: alg, -1: 1, -2: point[1:33], -3: point[33:]})
	}
}

// point is the public key of ES256 as X9.62 has it.
func (s signer) point() []byte {
	key, err := s.Public().(*ecdsa.PublicKey).ECDH()
	must(err)
	return key.Bytes()
}

func (s signer) spki() []byte {
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	must(err)
	return der
}
