//go:build faults

package faults

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keepAlive is after how long of silence PostgreSQL takes a worker's host for gone: the worker asks the server
// for it, and a proxy on the same machine would answer for the worker.
const keepAlive = 11 * time.Second

// proxy stands between a worker and PostgreSQL, and can cut the network.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	pairs  map[net.Conn]net.Conn // worker's side to the server's
	refuse bool                  // what connects is closed at once
	silent chan struct{}         // not nil: nothing passes until it is closed
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, target: target, pairs: map[net.Conn]net.Conn{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.down()
		p.running.Wait()
	})
	return p
}

// url is the database's through the proxy.
func (p *proxy) url(direct string) string {
	return strings.Replace(direct, p.target, p.listener.Addr().String(), 1)
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(near) })
	}
}

func (p *proxy) serve(near net.Conn) {
	defer func() { _ = near.Close() }()
	p.pass()
	far, err := net.Dial("tcp4", p.target)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	p.mu.Lock()
	if p.refuse {
		p.mu.Unlock()
		return
	}
	p.pairs[near] = far
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, near)
	}()

	var copying sync.WaitGroup
	copying.Go(func() { p.copy(far, near) })
	copying.Go(func() { p.copy(near, far) })
	copying.Wait()
}

// copy passes on what comes, and the end; both wait while nothing passes.
func (p *proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.pass()
		if n > 0 {
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				err = writeErr
			}
		}
		if err != nil {
			_ = to.Close()
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			return
		}
	}
}

// pass waits while nothing passes.
func (p *proxy) pass() {
	p.mu.Lock()
	silent := p.silent
	p.mu.Unlock()
	if silent != nil {
		<-silent
	}
}

// down closes all connections, and those that are opened, until up or resume.
func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	p.resume()
	for near, far := range p.pairs {
		_ = near.Close()
		_ = far.Close()
	}
}

// mute lets nothing through, not even that a side has closed its connection. The server finds out by itself.
func (p *proxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = make(chan struct{})
	silent := p.silent
	for _, far := range p.pairs {
		p.running.Go(func() {
			select {
			case <-time.After(keepAlive):
				_ = far.Close()
			case <-silent:
			}
		})
	}
}

// up ends the cut.
func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
	p.resume()
}

// resume lets everything through. mu is held.
func (p *proxy) resume() {
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}
