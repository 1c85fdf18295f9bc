package partners_test

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

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
