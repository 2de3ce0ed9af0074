package passkey

import (
	"crypto/ecdh"
	"math/big"

	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// Bounds of public keys: what is larger costs time at every sign-in.
const (
	keyMaxBytes = 2 << 10
	rsaMinBits  = 2048
	rsaMaxBits  = 8192
)

// Values of COSE keys (RFC 9053 §7.1, RFC 8812 §2).
const (
	algEdDSA     = -8
	algES256     = -7
	algRS256     = -257
	curveP256    = 1
	curveEd25519 = 6
)

// checkKey refuses a key of an algorithm that was not offered, and one that no
// authenticator makes: without an attestation nothing else has looked at it.
func checkKey(cose []byte) error {
	if len(cose) > keyMaxBytes {
		return because(ErrRefused, "algorithm")
	}
	key, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return because(ErrRefused, "algorithm")
	}
	good := false
	switch k := key.(type) {
	case webauthncose.EC2PublicKeyData:
		_, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, k.XCoord...), k.YCoord...)) // is it on the curve?
		good = k.KeyType == int64(webauthncose.EllipticKey) && k.Algorithm == algES256 && k.Curve == curveP256 && len(k.XCoord) == 32 && err == nil
	case webauthncose.OKPPublicKeyData:
		good = k.KeyType == int64(webauthncose.OctetKey) && k.Algorithm == algEdDSA && k.Curve == curveEd25519 && len(k.XCoord) == 32
	case webauthncose.RSAPublicKeyData:
		n, e := new(big.Int).SetBytes(k.Modulus), new(big.Int).SetBytes(k.Exponent)
		good = k.KeyType == int64(webauthncose.RSAKey) && k.Algorithm == algRS256 && n.BitLen() >= rsaMinBits && n.BitLen() <= rsaMaxBits && n.Bit(0) == 1 &&
			e.BitLen() >= 2 && e.BitLen() <= 31 && e.Bit(0) == 1
	}
	if !good {
		return because(ErrRefused, "algorithm")
	}
	return nil
}
