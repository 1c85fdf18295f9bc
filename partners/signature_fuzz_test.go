package partners

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What we sign the official library verifies, and it sees any byte that is changed afterwards.
func FuzzSignature(f *testing.F) {
	addSecrets(f, "msg_1", int64(1614265330), []byte(`{"test": 1}`), uint16(0), byte(1))
	addSecrets(f, "5f0c6f0e-8b0a-4a55-9d0f-000000000001", int64(-1), []byte("\x00\xff"), uint16(40), byte(2))
	addSecrets(f, "a.b", int64(0), []byte{}, uint16(3), byte('.'))
	f.Fuzz(func(t *testing.T, text, id string, seconds int64, body []byte, position uint16, change byte) {
		secret := Secret(text)
		if secret.Validate() != nil || id == "" || change == 0 {
			return
		}
		header := requireVerified(t, secret, id, time.Unix(seconds, 0), body)
		partner := verifier(t, secret)
		require.Error(t, verifier(t, "another raw secret").VerifyIgnoringTimestamp(body, header))

		// One byte of all that the partner gets besides the signature.
		timestamp := header.Get("webhook-timestamp")
		all := []byte(id + timestamp + string(body))
		all[int(position)%len(all)] ^= change
		header.Set("webhook-id", string(all[:len(id)]))
		header.Set("webhook-timestamp", string(all[len(id):len(id)+len(timestamp)]))
		require.Error(t, partner.VerifyIgnoringTimestamp(all[len(id)+len(timestamp):], header))
	})
}
