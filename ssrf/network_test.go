//go:build ssrf

package ssrf

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// internet is everything that can be called from inside the namespace.
type internet struct {
	certificates string // file of those that its TLS servers have

	mu       sync.Mutex
	arrivals []arrival
	names    map[string][]netip.Addr // what each name leads to; the first of several answers once
}

// arrival is a request that got through.
type arrival struct {
	to    string // the address that was dialled
	host  string // the Host header
	path  string
	proto string
}

// newInternet listens on every address, on ports that may be called by default and on others.
func newInternet(t *testing.T) *internet {
	t.Helper()
	web := &internet{names: map[string][]netip.Addr{}, certificates: filepath.Join(t.TempDir(), "certificates.pem")}
	for _, port := range []string{"22", "80", "3128", "8080"} {
		serve(t, port, web, (*httptest.Server).Start)
	}
	server := serve(t, "443", web, (*httptest.Server).StartTLS)
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(web.certificates, encoded, 0o644))
	web.answerNames(t)
	return web
}

func serve(t *testing.T, port string, handler http.Handler, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":"+port)
	require.NoError(t, err)
	server := &httptest.Server{
		Listener: listener, EnableHTTP2: true,
		Config: &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)},
	}
	start(server)
	t.Cleanup(server.Close)
	return server
}

// ServeHTTP takes everything; some paths ask for something else.
func (i *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	i.mu.Lock()
	i.arrivals = append(i.arrivals, arrival{to: local.String(), host: r.Host, path: r.URL.Path, proto: r.Proto})
	i.mu.Unlock()
	if target := r.URL.Query().Get("redirect"); target != "" {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// arrived lists the requests with a path.
func (i *internet) arrived(path string) []arrival {
	i.mu.Lock()
	defer i.mu.Unlock()
	var list []arrival
	for _, a := range i.arrivals {
		if a.path == path {
			list = append(list, a)
		}
	}
	return list
}

// lead says where a name leads: to each address once, and to the last from then on.
func (i *internet) lead(name string, addresses ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.names[name+"."] = nil
	for _, address := range addresses {
		i.names[name+"."] = append(i.names[name+"."], netip.MustParseAddr(address))
	}
}

func (i *internet) lookup(name string, isIPv6 bool) (netip.Addr, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	addresses := i.names[strings.ToLower(name)]
	if len(addresses) == 0 || addresses[0].Is6() != isIPv6 {
		return netip.Addr{}, false
	}
	if len(addresses) > 1 {
		i.names[strings.ToLower(name)] = addresses[1:]
	}
	return addresses[0], true
}

// answerNames is a name server.
func (i *internet) answerNames(t *testing.T) {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:53")
	require.NoError(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = conn.Close()
		serving.Wait()
	})
	serving.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := i.answer(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	})
}

func (i *internet) answer(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil || len(message.Questions) != 1 {
		return nil, context.Canceled
	}
	question := message.Questions[0]
	message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
	header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
	switch address, known := i.lookup(question.Name.String(), question.Type == dnsmessage.TypeAAAA); {
	case known && question.Type == dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: address.As4()}}}
	case known && question.Type == dnsmessage.TypeAAAA:
		message.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}}}
	}
	return message.Pack()
}
