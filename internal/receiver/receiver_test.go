package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/epicvoice/webhook-worker/partners"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	other  = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	raw    = "a raw secret"
)

var private, otherPrivate = partners.SchemeV1a.GenerateSecret(), partners.SchemeV1a.GenerateSecret()

// start runs a receiver that prints to the returned buffer. Read it after the answer.
func start(t *testing.T, cfg *Config) (url string, out *bytes.Buffer) {
	t.Helper()

	out = new(bytes.Buffer)
	cfg.Out = out
	cfg.Now = func() time.Time { return time.Date(2026, 5, 6, 7, 8, 9, 10e6, time.FixedZone("CEST", 7200)) }
	handler, err := New(cfg)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL, out
}

// webhook makes a request that is signed with secret, unless that is empty.
func webhook(t *testing.T, url, secret, body string) *http.Request {
	t.Helper()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	now := time.Now()
	request.Header.Set("webhook-id", "msg_1")
	request.Header.Set("webhook-event-type", "call.completed")
	request.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	if secret != "" {
		signature, err := partners.Sign([]partners.Secret{partners.Secret(secret)}, "msg_1", now, []byte(body))
		require.NoError(t, err)
		request.Header.Set("webhook-signature", signature)
	}
	return request
}

func do(t *testing.T, request *http.Request) (status int, body string) {
	t.Helper()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func TestSignatures(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		known, signedWith string
		status            int
		printed           string
	}{
		"verified":                {secret, secret, 200, "verified"},
		"verified, raw":           {raw, raw, 200, "verified"},
		"wrong":                   {secret, other, 401, "no matching signature found"},
		"wrong, raw":              {raw, secret, 401, "no matching signature found"},
		"missing":                 {secret, "", 401, "missing required headers"},
		"verified, v1a":           {private.PublicKey(), private.Reveal(), 200, "verified"},
		"wrong, v1a":              {private.PublicKey(), otherPrivate.Reveal(), 401, "no matching signature found"},
		"v1 and not v1a":          {private.PublicKey(), secret, 401, "no matching signature found"},
		"v1a and not v1":          {secret, private.Reveal(), 401, "no matching signature found"},
		"missing, v1a":            {private.PublicKey(), "", 401, "missing required headers"},
		"not verified":            {"", secret, 200, "not verified"},
		"not verified and absent": {"", "", 200, "not verified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			url, out := start(t, &Config{Secret: tt.known, JSON: true})
			status, body := do(t, webhook(t, url, tt.signedWith, `{"a":1}`))
			require.Equal(t, tt.status, status)
			require.Equal(t, http.StatusText(tt.status)+"\n", body)
			var printed received
			require.NoError(t, json.Unmarshal(out.Bytes(), &printed))
			require.Equal(t, tt.printed, printed.Signature)
			require.Equal(t, tt.status, printed.Answered)
			for _, key := range []string{secret, other, raw} {
				require.NotContains(t, out.String(), key)
			}
		})
	}
}

func TestChangedAndOldRequests(t *testing.T) {
	t.Parallel()

	for known, signedWith := range map[string]string{secret: secret, private.PublicKey(): private.Reveal()} {
		url, out := start(t, &Config{Secret: known})
		changed := webhook(t, url, signedWith, `{"a":1}`)
		changed.Body = io.NopCloser(strings.NewReader(`{"a":2}`))
		status, _ := do(t, changed)
		require.Equal(t, http.StatusUnauthorized, status)
		require.Contains(t, out.String(), "signature no matching signature found, answered 401")

		for name, change := range map[string]struct{ value, reason string }{
			"webhook-timestamp": {"1614265330", "message timestamp too old"},
			"Webhook-Timestamp": {"91614265330", "message timestamp too new"},
			"webhook-TIMESTAMP": {"soon", "invalid signature headers"},
			"webhook-id":        {"msg_2", "no matching signature found"},
			"webhook-signature": {"v1 v1a, v1a,! v1a,AAAA", "no matching signature found"},
		} {
			out.Reset()
			other := webhook(t, url, signedWith, `{"a":1}`)
			other.Header.Set(name, change.value)
			status, _ = do(t, other)
			require.Equal(t, http.StatusUnauthorized, status)
			require.Contains(t, out.String(), change.reason)
			require.Contains(t, out.String(), ", answered 401")
		}
	}
}

func TestNewRefusesSecrets(t *testing.T) {
	t.Parallel()

	for secret, reason := range map[string]string{
		"whsec_leaky!":           "must go on in base64",
		"xx":                     "must have 8 to 128 bytes, and has 2",
		"whpk_AAAA":              `must be "whpk_" and the base64 of 32 bytes`,
		"whsk_leaky!":            "must go on in base64",
		private.Reveal():         "is a private key, which a receiver must not have",
		private.PublicKey()[:40]: `must be "whpk_" and the base64 of 32 bytes`,
	} {
		_, err := New(&Config{Secret: secret, Out: io.Discard})
		require.ErrorContains(t, err, reason)
		require.NotContains(t, err.Error(), "leaky")
		require.NotContains(t, err.Error(), private.Reveal())
	}
}

func TestStatusAndFailRate(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		cfg    Config
		signed string
		want   int
	}{
		"default":                         {Config{}, secret, 200},
		"status":                          {Config{Status: 410}, secret, 410},
		"status without body":             {Config{Status: 204}, secret, 204},
		"always failing":                  {Config{FailRate: 1}, secret, 500},
		"always failing, other status":    {Config{FailRate: 1, Status: 202}, secret, 500},
		"a wrong signature is not failed": {Config{FailRate: 1}, other, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			tt.cfg.Secret = secret
			url, out := start(t, &tt.cfg)
			for range 5 {
				status, _ := do(t, webhook(t, url, tt.signed, `{"a":1}`))
				require.Equal(t, tt.want, status)
			}
			require.Equal(t, 5, strings.Count(out.String(), "answered "+strconv.Itoa(tt.want)+"\n"))
		})
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	t.Parallel()

	url, out := start(t, &Config{})
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
		require.NoError(t, err)
		status, _ := do(t, request)
		require.Equal(t, http.StatusMethodNotAllowed, status, method)
	}
	require.Empty(t, out.String())
}

func TestLongBodiesAreRefused(t *testing.T) {
	t.Parallel()

	url, out := start(t, &Config{})
	status, _ := do(t, webhook(t, url, "", `"`+strings.Repeat("x", maxBody-2)+`"`))
	require.Equal(t, http.StatusOK, status)
	out.Reset()
	status, body := do(t, webhook(t, url, "", strings.Repeat("x", maxBody+1)))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "too large")
	require.Empty(t, out.String())
}

func TestTextOutput(t *testing.T) {
	t.Parallel()

	url, out := start(t, &Config{Secret: secret})
	do(t, webhook(t, url, secret, `{"zebra":1, "alpha":2.50}`))
	require.Equal(t, "05:08:09.010  msg_1  call.completed  signature verified, answered 200\n  {\"zebra\":1, \"alpha\":2.50}\n", out.String())

	out.Reset()
	do(t, webhook(t, url, secret, "not JSON\n\x1b[31m\x00"))
	require.Equal(t, "05:08:09.010  msg_1  call.completed  signature verified, answered 200\n  \"not JSON\\n\\x1b[31m\\x00\"\n", out.String())

	out.Reset()
	do(t, webhook(t, url, secret, ""))
	require.True(t, strings.HasSuffix(out.String(), "\n  \"\"\n"), out.String())
}

func TestJSONOutput(t *testing.T) {
	t.Parallel()

	url, out := start(t, &Config{JSON: true})
	do(t, webhook(t, url, "", "{\"zebra\":1,\n\"alpha\":2.50,\"big\":12345678901234567890}"))
	do(t, webhook(t, url, "", "not JSON\xff"))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 2, "one a line")

	var printed received
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &printed))
	require.Equal(t, time.Date(2026, 5, 6, 5, 8, 9, 10e6, time.UTC), printed.Time)
	require.Equal(t, "msg_1", printed.WebhookID)
	require.Equal(t, "call.completed", printed.EventType)
	require.Equal(t, `{"zebra":1,"alpha":2.50,"big":12345678901234567890}`, string(printed.Body))
	require.Empty(t, printed.RawBody)
	require.True(t, strings.HasPrefix(printed.RemoteAddr, "127.0.0.1:"), printed.RemoteAddr)

	printed = received{}
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &printed))
	require.Equal(t, "not JSON\uFFFD", printed.RawBody)
	require.Empty(t, printed.Body)
}

// A partner that is slow does not hold up the receiver once the sender has gone.
func TestDelayEndsWithTheRequest(t *testing.T) {
	t.Parallel()

	url, _ := start(t, &Config{Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(webhook(t, url, "", `{}`).WithContext(ctx))
	if response != nil {
		_ = response.Body.Close()
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// The server's Close in the cleanup waits for its handlers.
}
