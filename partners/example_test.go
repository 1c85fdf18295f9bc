package partners_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/epicvoice/webhook-worker/internal/testdb"
	"github.com/epicvoice/webhook-worker/partners"
)

func ExamplePatternsFor() {
	for _, pattern := range partners.PatternsFor("call.completed.late") {
		fmt.Fprintln(os.Stdout, pattern)
	}
	// Output:
	// call.completed.late
	// *
	// call.*
	// call.completed.*
}

func ExampleRenderBody() {
	payload := json.RawMessage(`{"zebra":1,"alpha":2.50,"big":12345678901234567890}`)
	fields := json.RawMessage(`{"brand":"AcmeVoice","alpha":"the event's own goes first"}`)
	fmt.Fprintf(os.Stdout, "%s\n", partners.RenderBody(payload, fields))
	// Output:
	// {"zebra":1,"alpha":2.50,"big":12345678901234567890,"brand":"AcmeVoice"}
}

func ExampleSign() {
	secrets := []partners.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	signature, err := partners.Sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Fprintln(os.Stdout, signature, err)
	// Output:
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= <nil>
}

func ExampleSecret() {
	secret := partners.GenerateSecret()
	fmt.Fprintf(os.Stdout, "%v %+v %s %q %#v %d\n", secret, secret, secret, secret, secret, secret)
	fmt.Fprintln(os.Stdout, secret.Reveal()[:len("whsec_")])
	// Output:
	// [redacted] [redacted] [redacted] [redacted] [redacted] [redacted]
	// whsec_
}

func ExampleParsePorts() {
	ports, err := partners.ParsePorts("80, 443, 8000-9999")
	fmt.Fprintln(os.Stdout, ports, err)
	_, err = partners.ParsePorts("http")
	fmt.Fprintln(os.Stdout, err)
	// Output:
	// 80,443,8000-9999 <nil>
	// "http" is not a port or a range of ports such as 8000-9999
}

func ExampleValidationError() {
	fmt.Fprintln(os.Stdout, partners.ValidateEventType("call-completed"))
	fmt.Fprintln(os.Stdout, partners.ValidatePayload(json.RawMessage(`[1]`)))
	// Output:
	// event_type "call-completed" must be parts of letters, digits and underscores with dots between, such as call.completed
	// payload must be a JSON object
}

// signUp adds a partner in a transaction of the application's, and returns the secret to show to its owner, once.
func signUp(ctx context.Context, tx pgx.Tx, store *partners.Store, userID, url string) (partners.Secret, error) {
	_, secret, err := store.CreateTx(ctx, tx, userID, &partners.Params{
		Name:                "Acme Corp",
		Slug:                "acme-corp",
		URL:                 url,
		EnabledEvents:       []string{"call.*"},
		CustomPayloadFields: json.RawMessage(`{"brand":"AcmeVoice"}`),
	})
	return secret, err
}

// An application lets its users add partners themselves.
func ExampleStore_CreateTx() {
	ctx := context.Background()
	pool, closeDatabase, err := testdb.Open(ctx)
	if err != nil {
		log.Panic(err)
	}
	defer func() { _ = closeDatabase() }()
	key := make([]byte, partners.KeySize) // WEBHOOK_ENCRYPTION_KEY, decoded
	_, _ = rand.Read(key)
	keyring, err := partners.NewKeyring(key)
	if err != nil {
		log.Panic(err)
	}
	store := partners.NewStore(&partners.StoreConfig{Pool: pool, Keyring: keyring})

	for _, url := range []string{"https://acme.example/webhooks", "https://acme.example/other", "https://10.0.0.1/"} {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			secret, err := signUp(ctx, tx, store, "user_123", url)
			if err == nil {
				fmt.Fprintln(os.Stdout, "show once:", secret.Reveal()[:6]+"…")
			}
			return err
		})
		invalid, refused := errors.AsType[*partners.ValidationError](err)
		switch {
		case refused: // words for the user
			fmt.Fprintln(os.Stdout, invalid.Field, invalid.Reason)
		case errors.Is(err, partners.ErrSlugTaken):
			fmt.Fprintln(os.Stdout, "there is one of this name")
		case err != nil:
			log.Panic(err)
		}
	}
	// Output:
	// show once: whsec_…
	// there is one of this name
	// url must not lead to a private or reserved address (WEBHOOK_ALLOW_NETWORKS opens networks)
}
