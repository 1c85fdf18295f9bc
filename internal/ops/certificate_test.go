package ops

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// writeCertificate puts a new certificate for a name, and its key, into a directory.
func writeCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

func certificate(t *testing.T, dir, name string) *Certificate {
	t.Helper()

	certFile, keyFile := writeCertificate(t, dir, name)
	loaded, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return loaded
}

// handshake is what a browser finds at a server.
func handshake(t *testing.T, server *Server, maxVersion uint16) (tls.ConnectionState, error) {
	t.Helper()

	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: maxVersion, NextProtos: []string{"h2", "http/1.1"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", server.listener.Addr().String())
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}

func TestTLS(t *testing.T) {
	t.Parallel()

	server := start(t, func(cfg *Config) {
		cfg.Certificate = certificate(t, t.TempDir(), "pages.example")
		cfg.Hosts = []HostName{"pages.example"}
	})
	require.Regexp(t, `^https://127\.0\.0\.1:\d+/riverui/$`, server.URL())
	state, err := handshake(t, server, 0)
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS13, state.Version)
	require.Equal(t, "h2", state.NegotiatedProtocol)
	state, err = handshake(t, server, tls.VersionTLS12)
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS12, state.Version)
	_, err = handshake(t, server, tls.VersionTLS11)
	require.Error(t, err)

	for host, hsts := range map[string]string{"": "", "localhost": "", "pages.example": "max-age=31536000"} {
		got := do(t, http.MethodGet, server.URL(), "Host", host)
		require.Equal(t, http.StatusOK, got.status)
		require.Equal(t, "HTTP/2.0", got.proto)
		require.Equal(t, hsts, got.header.Get("Strict-Transport-Security"), host)
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	loaded := certificate(t, dir, "first.example")
	server := start(t, func(cfg *Config) { cfg.Certificate = loaded })
	served := func() string {
		loaded.mu.Lock()
		loaded.checked = time.Time{} // as after a second
		loaded.mu.Unlock()
		state, err := handshake(t, server, 0)
		require.NoError(t, err)
		return state.PeerCertificates[0].Subject.CommonName
	}
	require.Equal(t, "first.example", served())

	// Half of a renewal, then the other half.
	other := t.TempDir()
	certFile, keyFile := writeCertificate(t, other, "second.example")
	require.NoError(t, os.Rename(certFile, filepath.Join(dir, "cert.pem")))
	require.Equal(t, "first.example", served(), "a certificate that does not fit its key is not taken")
	require.NoError(t, os.Rename(keyFile, filepath.Join(dir, "key.pem")))
	require.Equal(t, "second.example", served())

	// As certbot does it: links that lead elsewhere.
	third := t.TempDir()
	certFile, keyFile = writeCertificate(t, third, "third.example")
	require.NoError(t, os.Remove(filepath.Join(dir, "cert.pem")))
	require.NoError(t, os.Remove(filepath.Join(dir, "key.pem")))
	require.Equal(t, "second.example", served(), "files that are gone for a moment change nothing")
	require.NoError(t, os.Symlink(certFile, filepath.Join(dir, "cert.pem")))
	require.NoError(t, os.Symlink(keyFile, filepath.Join(dir, "key.pem")))
	require.Equal(t, "third.example", served())
}

// The files are looked at once a second, and not at each connection.
func TestCertificateIsLookedAtNowAndThen(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	loaded := certificate(t, dir, "first.example")
	loaded.checked = time.Now().Add(time.Hour) // a second that lasts
	writeCertificate(t, dir, "second.example")
	got, err := loaded.get(&tls.ClientHelloInfo{})
	require.NoError(t, err)
	require.Equal(t, "first.example", got.Leaf.Subject.CommonName)
}

func TestRefusedCertificates(t *testing.T) {
	t.Parallel()

	dir := t.TempDir()
	certFile, keyFile := writeCertificate(t, dir, "first.example")
	_, otherKey := writeCertificate(t, t.TempDir(), "second.example")
	for _, tt := range [][3]string{
		{certFile, filepath.Join(dir, "nowhere.pem"), "no such file"},
		{filepath.Join(dir, "nowhere.pem"), keyFile, "no such file"},
		{certFile, otherKey, "private key does not match public key"},
		{keyFile, certFile, "--tls-cert " + keyFile},
	} {
		_, err := LoadCertificate(tt[0], tt[1], slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, tt[2])
	}
}
