package ops

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// withRecovery keeps what a panic says in the log.
func withRecovery(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // it is the request's
			recovered := recover()
			if recovered == nil {
				return
			}
			if err, ok := recovered.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(recovered) // how a handler closes its connection
			}
			logger.ErrorContext(r.Context(), "panic in a page", slog.String("path", r.URL.Path),
				slog.String("panic", fmt.Sprint(recovered)), slog.String("stack", string(debug.Stack())))
			http.Error(w, "something went wrong; the log says what", http.StatusInternalServerError)
		}()
		next.ServeHTTP(w, r)
	})
}
