package ops

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often the files of a certificate are looked at, if browsers connect.
const certificateCheck = time.Second

// Certificate is a certificate in two files, which is read again when they change.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	files   fileVersions // of what was last read, well or not
	checked time.Time
}

// fileVersions tells a file from what later has its name, also behind a symbolic link, such as certbot's.
type fileVersions [2]struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate with its chain, and its key, in PEM.
func LoadCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger, checked: time.Now()}
	versions, err := c.versions()
	if err != nil {
		return nil, fmt.Errorf("reading --tls-cert and --tls-key: %w", err)
	}
	if c.current, err = c.read(); err != nil {
		return nil, err
	}
	c.files = versions
	return c, nil
}

// get is what the files hold now, or held when they last were a certificate and its key: while a pair is
// exchanged it does not fit together.
func (c *Certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if time.Since(c.checked) < certificateCheck {
		return c.current, nil
	}
	c.checked = time.Now()
	versions, err := c.versions()
	if err != nil || versions == c.files {
		return c.current, nil
	}
	c.files = versions
	renewed, err := c.read()
	if err != nil {
		c.logger.WarnContext(hello.Context(), "certificate not renewed, the old one stays", slog.String("error", err.Error()))
		return c.current, nil
	}
	c.current = renewed
	c.logger.InfoContext(hello.Context(), "certificate renewed", slog.Time("not_after", renewed.Leaf.NotAfter))
	return c.current, nil
}

// versions is taken before the files are read, so that a change in between shows the next time.
func (c *Certificate) versions() (fileVersions, error) {
	var versions fileVersions
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return versions, err
		}
		versions[i].modified, versions[i].size = info.ModTime(), info.Size()
	}
	return versions, nil
}

func (c *Certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading --tls-cert %s and --tls-key %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}

// config serves the certificate to browsers of the last ten years.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}
