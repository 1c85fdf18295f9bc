package ops

import (
	"net/http"
	"slices"
	"strings"
)

// contentSecurityPolicy allows what River UI needs, which is its own files and its own API. It is seen to
// work in a browser (make browser).
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src-elem 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// withHeaders tells browsers what these pages do not do.
func withHeaders(isTLS bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Frame-Options", "DENY")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()")
		if !strings.HasPrefix(r.URL.Path, uiPrefix+"/assets/") { // which have nothing of anybody's
			header.Set("Cache-Control", "no-store")
		}
		if isTLS && !isLoopbackName(hostOf(r)) { // on localhost it would bind every other program's port too
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// withMethods lets through the methods that River UI has, or those of them that only read.
func withMethods(readOnly bool, next http.Handler) http.Handler {
	reading := []string{http.MethodGet, http.MethodHead}
	known := append(slices.Clone(reading), http.MethodPost, http.MethodPut, http.MethodPatch)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !slices.Contains(known, r.Method):
			w.Header().Set("Allow", strings.Join(known, ", "))
			http.Error(w, "these pages do not know this method", http.StatusMethodNotAllowed)
		case readOnly && !slices.Contains(reading, r.Method):
			http.Error(w, "these pages are read-only (serve --read-only): change things with the commands", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
