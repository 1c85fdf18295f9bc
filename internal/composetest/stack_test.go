package composetest

import (
	"cmp"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

// stack is what `docker compose up` makes of the file, with processes instead of containers.
type stack struct {
	project  *types.Project
	program  string
	database string              // the test's, instead of the service postgres
	receiver string              // where the receiver listens, once it does
	pages    string              // where serve listens, once it does
	sockets  string              // the folder of the workers' health sockets
	running  map[string]*process // of services that go on
}

var wildcard = regexp.MustCompile(`^0\.0\.0\.0:\d+$`)

// onLoopback rewrites what is different here than in Docker's networks, and nothing else: where the
// database and the receiver are, ports to listen on, and the network of the partners.
func (s *stack) onLoopback(t *testing.T, text string) string {
	t.Helper()

	return strings.NewReplacer(
		env(t, s.project.Services["migrate"], "DATABASE_URL"), s.database,
		"receiver:9000", s.receiver,
		"127.0.0.1:8080", cmp.Or(s.pages, "127.0.0.1:8080"),
		s.project.Networks["partners"].Ipam.Config[0].Subnet, "127.0.0.0/8",
	).Replace(wildcard.ReplaceAllString(text, "0.0.0.0:0"))
}

// start starts a command in a service's container: the image's entrypoint is left out of it.
func (s *stack) start(t *testing.T, service types.ServiceConfig, command []string) *process {
	t.Helper()

	argv, environment := []string{s.program}, environ(service)
	for _, word := range command {
		argv = append(argv, s.onLoopback(t, word))
	}
	for i := range environment {
		name, value, _ := strings.Cut(environment[i], "=")
		if name == "WORKER_HEALTH_ADDR" { // each container has a loopback of its own
			value = "unix:" + filepath.Join(s.sockets, service.Name)
		}
		environment[i] = name + "=" + s.onLoopback(t, value)
	}
	return start(t, service.Name, argv, environment)
}

// up starts a service and waits until it is what others may depend on.
func (s *stack) up(t *testing.T, service types.ServiceConfig) {
	t.Helper()

	p := s.start(t, service, service.Command)
	if !isLongRunning(service) {
		require.Zero(t, p.exit(t, patience), service.Name)
		return
	}
	s.running[service.Name] = p
	if service.Name == demoServer {
		s.receiver = "127.0.0.1:" + p.awaitLine(t, `receiving on http://\S+:(\d+)/`)
	}
	if service.Name == "serve" {
		s.pages = "127.0.0.1:" + p.awaitLine(t, `River UI is on http://\S+:(\d+)/`)
	}
}

// upAll starts what has all its dependencies, again and again, until everything is up.
func (s *stack) upAll(t *testing.T) {
	t.Helper()

	up := map[string]bool{database: true}
	for len(up) < len(s.project.Services) {
		ready := slices.DeleteFunc(slices.Sorted(maps.Keys(s.project.Services)), func(name string) bool {
			return up[name] || slices.ContainsFunc(slices.Collect(maps.Keys(s.project.Services[name].DependsOn)),
				func(dependency string) bool { return !up[dependency] })
		})
		require.NotEmpty(t, ready)
		for _, name := range ready {
			s.up(t, s.project.Services[name])
		}
		for _, name := range ready {
			up[name] = true
		}
	}
}

// healthcheck runs a service's healthcheck, as Docker does in its container, and returns the exit status.
func (s *stack) healthcheck(t *testing.T, service types.ServiceConfig) int {
	t.Helper()

	return s.start(t, service, service.HealthCheck.Test[2:]).exit(t, time.Duration(*service.HealthCheck.Timeout))
}

func newStack(t *testing.T) (*stack, *pgxpool.Pool) {
	t.Helper()

	pool := testdb.NewEmpty(t)
	sockets, err := os.MkdirTemp("", "compose-") //nolint:usetesting // t.TempDir() is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	return &stack{
		project:  load(t, nil),
		program:  build(t),
		database: testdb.URL(pool),
		sockets:  sockets,
		running:  map[string]*process{},
	}, pool
}

func TestUp(t *testing.T) {
	t.Parallel()

	s, pool := newStack(t)
	version := start(t, "version", []string{s.program, "--version"}, []string{})
	require.Zero(t, version.exit(t, patience))
	require.Equal(t, testVersion+"\n", version.stdout.String(), "the Dockerfile's -X names a variable that there is")
	require.Equal(t, 1, s.healthcheck(t, s.project.Services["worker-1"]), "unhealthy before the migrations")

	s.upAll(t)
	s.running["worker-1"].awaitLine(t, `msg="worker started" instance=1 `)
	s.running["worker-2"].awaitLine(t, `msg="worker started" instance=2 `)
	requireDelivery(t, s)
	requirePages(t, s)
	for name, service := range programs(s.project) {
		if service.HealthCheck != nil {
			require.Zero(t, s.healthcheck(t, service), name)
		}
	}

	// A second `docker compose up` runs these again.
	for _, name := range []string{"migrate", demoClient, "demo-call"} {
		s.up(t, s.project.Services[name])
	}
	var deliveries, partners int
	require.NoError(t, pool.QueryRow(t.Context(), `
		select (select count(*) from webhook_delivery_queue),
		       (select count(*) from partner_webhooks)`).Scan(&deliveries, &partners))
	require.Equal(t, 1, deliveries)
	require.Equal(t, 1, partners)
	doctor := s.start(t, s.project.Services["worker-1"], []string{"doctor"})
	require.Zero(t, doctor.exit(t, patience), doctor.stdout.String())

	for name, p := range s.running {
		select {
		case <-p.ended:
			require.Failf(t, "ended by itself", "%s", name)
		default:
		}
		p.terminate(t)
	}
	for name, p := range s.running {
		require.Zero(t, p.exit(t, gracePeriod(s.project.Services[name])), name)
	}
}

// gracePeriod is how long Docker waits before it kills.
func gracePeriod(service types.ServiceConfig) time.Duration {
	if service.StopGracePeriod == nil {
		return 10 * time.Second
	}
	return time.Duration(*service.StopGracePeriod)
}

// requireDelivery waits for the demo's call at the receiver.
func requireDelivery(t *testing.T, s *stack) {
	t.Helper()

	require.Eventually(t, func() bool {
		printed := s.running[demoServer].stdout.String()
		return strings.Contains(printed, "call.completed  signature verified, answered 200\n") &&
			strings.Contains(printed, `"call_id":"first-call"`)
	}, patience, look)
}

// requirePages looks at River UI without and with the file's credentials.
func requirePages(t *testing.T, s *stack) {
	t.Helper()

	port := s.running["serve"].awaitLine(t, `River UI is on http://\S+:(\d+)/`)
	serve := s.project.Services["serve"]
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path, user, password string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, http.NoBody)
		require.NoError(t, err)
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	for _, path := range []string{"/", "/riverui/", "/riverui/api/queues"} {
		require.Equal(t, http.StatusUnauthorized, get(path, "", ""), path)
		require.Equal(t, http.StatusUnauthorized, get(path, env(t, serve, "WEBHOOK_UI_USER"), "wrong"), path)
		require.Equal(t, http.StatusOK, get(path, env(t, serve, "WEBHOOK_UI_USER"), env(t, serve, "WEBHOOK_UI_PASSWORD")), path)
	}
	require.Equal(t, http.StatusOK, get("/healthz", "", ""))
}
