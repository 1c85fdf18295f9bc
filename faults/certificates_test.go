//go:build faults

package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tlsMode is how a receiver's TLS is broken.
type tlsMode int32

const (
	tlsGood    tlsMode = iota
	tlsForeign         // a certificate that nobody trusts
	tlsExpired         // one that was good once
	tlsRefused         // the handshake fails
)

// certificates are those of a receiver whose TLS can be broken while it runs.
type certificates struct {
	roots []byte // PEM of what workers are to trust
	mode  atomic.Int32
	ready map[tlsMode]*tls.Certificate
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	valid, expired := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	c := &certificates{ready: map[tlsMode]*tls.Certificate{}}
	for mode, until := range map[tlsMode]time.Time{tlsGood: valid, tlsForeign: valid, tlsExpired: expired} {
		certificate := selfSigned(t, until)
		c.ready[mode] = certificate
		if mode != tlsForeign {
			c.roots = append(c.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})...)
		}
	}
	return c
}

func selfSigned(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "receiver " + serial.String()},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              until,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (c *certificates) use(mode tlsMode) { c.mode.Store(int32(mode)) }

func (c *certificates) config() *tls.Config {
	return &tls.Config{
		SessionTicketsDisabled: true, // a resumed session would show no certificate
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if certificate, ok := c.ready[tlsMode(c.mode.Load())]; ok {
				return certificate, nil
			}
			return nil, errors.New("no certificate")
		},
	}
}
