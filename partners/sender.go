package partners

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// readLimit is how much of an answer's body is read at most. What is longer costs its connection.
	readLimit = 64 << 10
	// keptBody is how much of it is kept for the audit log.
	keptBody = 16 << 10
	// maxHeaderBytes bounds an answer's header.
	maxHeaderBytes = 64 << 10

	// minStatus is the least status of HTTP. The transport takes any three characters that are a number.
	minStatus = 100

	connectTimeout      = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second

	// idleTimeout is how long a connection waits for the next delivery. Many servers close theirs after
	// 5 s; a POST that meets the closing has to be made again, so ours goes first.
	idleTimeout = 4 * time.Second

	// pingTimeout finds HTTP/2 connections that are dead without having been closed.
	pingTimeout = 15 * time.Second

	// staleConnections is how many connections in a row may turn out to have been closed by the partner.
	staleConnections = 20
)

// SenderConfig is what a Sender needs.
type SenderConfig struct {
	Guard     *Guard        // what may be called; nil: public addresses on the usual ports
	Proxy     *url.URL      // where requests go out, by [ParseProxyURL]; nil: straight to the partners
	Timeout   time.Duration // for one request, to the end of the answer's body
	MaxIdle   int           // connections kept open in all; as many as deliveries run at once
	UserAgent string
	RootCAs   *x509.CertPool // nil: the system's
}

// Sender posts signed bodies. One serves all deliveries of a process.
type Sender struct {
	client    *http.Client
	transport *http.Transport
	guard     *Guard
	proxied   bool
	timeout   time.Duration
	userAgent string
}

// NewSender makes a Sender. Call [Sender.Close] when it is done.
func NewSender(cfg *SenderConfig) *Sender {
	guard := cfg.Guard
	if guard == nil {
		guard = NewGuard(&GuardConfig{})
	}
	dialer := &net.Dialer{Timeout: connectTimeout, Control: guard.Control}
	if cfg.Proxy != nil {
		// The proxy is the operator's own, wherever it is. If it does not answer that shall show as such, and
		// so before the request's time is over.
		dialer = &net.Dialer{Timeout: min(connectTimeout, cfg.Timeout/2)}
	}
	transport := &http.Transport{
		Proxy:                  func(*http.Request) (*url.URL, error) { return cfg.Proxy, nil }, // never from the environment
		OnProxyConnectResponse: checkConnect,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
		MaxIdleConns:           cfg.MaxIdle,
		MaxIdleConnsPerHost:    cfg.MaxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // a compressed answer could unpack to any size
	}
	if cfg.Proxy != nil && cfg.Proxy.Scheme == "https" {
		// The transport's own handshake would offer HTTP/2, and speaks no HTTP/2 to proxies.
		secure := &tls.Dialer{NetDialer: dialer, Config: &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}}
		transport.DialTLSContext = secure.DialContext
	}
	return &Sender{
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		transport: transport,
		guard:     guard,
		proxied:   cfg.Proxy != nil,
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
	}
}

// Close closes idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Request is one POST to be made.
type Request struct {
	URL       string
	ID        string // webhook-id
	EventType string
	Timestamp time.Time // webhook-timestamp: when this attempt is made
	Body      []byte
	Headers   Headers // beside ours, and never instead of them
	Secrets   []Secret

	TraceParent string // the header traceparent; empty: the partner's own, if it has one
}

// Response is what became of a POST. Exactly one of Status and Err is set.
type Response struct {
	Status     int               // HTTP status; 0 if there was no answer
	Headers    map[string]string // those that help in finding a fault, lower case
	Body       string            // its first 16 KiB, valid UTF-8 without NUL
	RetryAfter time.Duration     // how long the partner asks to wait; 0 if it does not
	Kind       ErrorKind         // why there was no answer
	Err        error             // the same in words
	Duration   time.Duration     // from before the connection to the end of the answer's body
}

// Send makes one POST, signed, within the sender's timeout and ctx. It always returns a Response.
func (s *Sender) Send(ctx context.Context, request *Request) *Response {
	start := time.Now()
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	response := s.send(timed, request)
	response.Duration = time.Since(start)
	if response.Err != nil {
		response.Kind, response.Err = classify(ctx, response.Err, s.timeout)
		response.Err = request.Headers.hideIn(response.Err)
	}
	return response
}

func (s *Sender) send(ctx context.Context, request *Request) *Response {
	if err := request.Headers.validate(); err != nil {
		return &Response{Err: &internalError{err}}
	}
	signature, err := Sign(request.Secrets, request.ID, request.Timestamp, request.Body)
	if err != nil {
		return &Response{Err: &internalError{err}}
	}
	answer, err := s.post(ctx, request, signature)
	for range staleConnections {
		if !closedWhileIdle(err) {
			break
		}
		// The partner closed the connection before it saw the request: on another one it is still the first.
		answer, err = s.post(ctx, request, signature)
	}
	if err != nil {
		return &Response{Err: err}
	}
	defer func() { _ = answer.Body.Close() }()
	if s.proxied && answer.Request.URL.Scheme == "http" && answer.StatusCode == http.StatusProxyAuthRequired {
		return &Response{Err: proxyAnswered(answer)} // to a request that it forwards; a tunnel's is judged by checkConnect
	}
	if answer.StatusCode < minStatus {
		return &Response{Err: fmt.Errorf("the answer's status %q is not HTTP", answer.Status)}
	}

	// After a 101 the connection is no longer HTTP, and the deadline would not end reading from it.
	readable := io.Reader(answer.Body)
	if answer.StatusCode == http.StatusSwitchingProtocols {
		readable = http.NoBody
	}

	// An answer's status is the partner's word, whatever becomes of the body: what of it came before the
	// deadline, or before the connection broke, is kept. Reading to the end gives the connection back.
	body, _ := io.ReadAll(io.LimitReader(readable, readLimit))
	return &Response{
		Status:     answer.StatusCode,
		Headers:    usefulHeaders(answer.Header, request.Headers),
		Body:       SafeText(request.Headers.hide(body, keptBody), keptBody),
		RetryAfter: ParseRetryAfter(answer.Header.Get("Retry-After"), time.Now()),
	}
}

// post makes the request. The caller closes the answer's body.
func (s *Sender) post(ctx context.Context, request *Request, signature string) (*http.Response, error) {
	var way *connectTunnel // nil: there is no proxy
	if s.proxied {
		ctx, way = withTunnel(ctx)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, request.URL, bytes.NewReader(request.Body))
	if err != nil {
		return nil, &internalError{fmt.Errorf("making the request: %w", err)}
	}
	if s.guard.checkTarget(post.URL) != nil {
		return nil, errBlocked
	}
	for name, value := range request.Headers.all() {
		post.Header.Set(name, value)
	}
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("User-Agent", s.userAgent)
	post.Header.Set("webhook-id", request.ID)
	post.Header.Set("webhook-timestamp", strconv.FormatInt(request.Timestamp.Unix(), 10))
	post.Header.Set("webhook-signature", signature)
	post.Header.Set("webhook-event-type", request.EventType)
	if request.TraceParent != "" {
		post.Header.Set("traceparent", request.TraceParent)
	}
	answer, err := s.client.Do(post)
	if way != nil && post.URL.Scheme == "https" {
		err = way.blame(err)
	}
	return answer, err
}
