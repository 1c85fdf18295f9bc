package partners

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// benchmarkPayload is a call's outcome of some size in bytes, with text in it.
func benchmarkPayload(size int) json.RawMessage {
	const start, end = `{"call_id":"call_1","event_type":"call.completed","duration":184,"status":"completed","summary":"`, `"}`
	return json.RawMessage(start + strings.Repeat("x", size-len(start)-len(end)) + end)
}

var benchmarkSizes = []int{512, 8 << 10, 64 << 10}

func BenchmarkSign(b *testing.B) {
	secret := GenerateSecret()
	now := time.Now()
	for _, test := range []struct {
		name    string
		secrets []Secret
	}{{"v1", []Secret{secret}}, {"v1-rotating", []Secret{secret, GenerateSecret()}}, {"v1a", []Secret{SchemeV1a.GenerateSecret()}}} {
		for _, size := range benchmarkSizes {
			body := benchmarkPayload(size)
			b.Run(fmt.Sprintf("%s/%d", test.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, err := Sign(test.secrets, "5f0c6f0e-8b0a-4a55-9d0f-000000000001", now, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkRenderBody(b *testing.B) {
	for _, test := range []struct{ name, fields string }{
		{"none", `{}`}, {"two", `{"source":"reception","tenant":"clinic-7"}`}, {"taken", `{"status":"x","duration":0}`},
	} {
		for _, size := range benchmarkSizes {
			payload, fields := benchmarkPayload(size), json.RawMessage(test.fields)
			b.Run(fmt.Sprintf("%s/%d", test.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					RenderBody(payload, fields)
				}
			})
		}
	}
}

func BenchmarkGuardControl(b *testing.B) {
	guard := NewGuard(&GuardConfig{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}})
	for _, test := range []struct {
		name, address string
		blocked       bool
	}{
		{"public-v4", "93.184.215.14:443", false},
		{"public-v6", "[2606:4700:4700::1111]:443", false},
		{"opened", "10.20.1.1:8080", false},
		{"private-v4", "192.168.1.1:443", true},
		{"mapped-v6", "[::ffff:127.0.0.1]:443", true},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := guard.Control("tcp", test.address, nil); (err != nil) != test.blocked {
					b.Fatal(err)
				}
			}
		})
	}
}
