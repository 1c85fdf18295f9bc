package composetest

import (
	"encoding/base64"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/config"
)

func TestServices(t *testing.T) {
	t.Parallel()

	const (
		started   = types.ServiceConditionStarted
		healthy   = types.ServiceConditionHealthy
		completed = types.ServiceConditionCompletedSuccessfully
	)
	dependencies := map[string]map[string]string{
		database:    {},
		"migrate":   {database: healthy},
		"worker-1":  {"migrate": completed},
		"worker-2":  {"migrate": completed},
		"serve":     {"migrate": completed},
		demoServer:  {},
		demoClient:  {"migrate": completed},
		"demo-call": {demoClient: completed, demoServer: started},
	}
	project := load(t, nil)
	require.Empty(t, project.DisabledServices, "`docker compose up` starts everything")
	require.Len(t, project.Services, len(dependencies))

	for name, service := range project.Services {
		conditions := map[string]string{}
		for dependency, how := range service.DependsOn {
			require.True(t, how.Required)
			conditions[dependency] = how.Condition
		}
		require.Equal(t, dependencies[name], conditions, name)
	}

	var longRunning []string
	for name, service := range project.Services {
		if isLongRunning(service) {
			longRunning = append(longRunning, name)
		} else {
			require.Contains(t, []string{"", types.RestartPolicyNo}, service.Restart, "%s would run again and again", name)
		}
	}
	require.ElementsMatch(t, []string{database, "worker-1", "worker-2", "serve", demoServer}, longRunning)
}

// Whoever runs `docker compose up` sets nothing.
func TestVariablesHaveDefaults(t *testing.T) {
	t.Parallel()

	model, err := loader.LoadModelWithContext(t.Context(), details(t, nil), func(options *loader.Options) {
		options.SkipInterpolation = true
	})
	require.NoError(t, err)
	variables := template.ExtractVariables(model, template.DefaultPattern)
	require.Contains(t, variables, "WEBHOOK_ENCRYPTION_KEY", "it finds variables")
	for name, variable := range variables {
		require.False(t, variable.Required, name)
		if name != "WEBHOOK_ENCRYPTION_KEYS_OLD" { // nothing, unless keys are being rotated
			require.NotEmpty(t, variable.DefaultValue, name)
		}
	}
}

// A value that is used in two places changes in both.
func TestVariablesOfTheUser(t *testing.T) {
	t.Parallel()

	const password, subnet = `p@ss/w:rd`, "10.99.0.0/24"
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	project := load(t, types.Mapping{
		"POSTGRES_PASSWORD": password, "WEBHOOK_DEMO_SUBNET": subnet, "WEBHOOK_ENCRYPTION_KEY": key,
		"WEBHOOK_UI_USER": "someone", "WEBHOOK_UI_PASSWORD": "secret", "WEBHOOK_UI_PORT": "9999", "VERSION": "v9",
	})
	require.Equal(t, password, env(t, project.Services[database], "POSTGRES_PASSWORD"))
	for name, service := range programs(project) {
		if name != demoServer {
			require.Equal(t, password, env(t, service, "PGPASSWORD"))
			require.Equal(t, key, env(t, service, "WEBHOOK_ENCRYPTION_KEY"))
			require.Equal(t, subnet, env(t, service, "WEBHOOK_ALLOW_NETWORKS"))
		}
	}
	require.Equal(t, subnet, project.Networks["partners"].Ipam.Config[0].Subnet)
	require.Equal(t, "9999", project.Services["serve"].Ports[0].Published)
	require.Equal(t, "someone", env(t, project.Services["serve"], "WEBHOOK_UI_USER"))
	require.Equal(t, "secret", env(t, project.Services["serve"], "WEBHOOK_UI_PASSWORD"))
	require.Equal(t, "v9", *project.Services["migrate"].Build.Args["VERSION"])
}

func TestEnvironments(t *testing.T) {
	t.Parallel()

	project := load(t, nil)
	postgres := project.Services[database]
	known := map[string]bool{"PGPASSWORD": true} // pgx reads it
	for _, variable := range new(config.Config).Variables() {
		known[variable.Name] = true
	}

	for name, service := range programs(project) {
		for variable := range service.Environment {
			require.True(t, known[variable], "%s: the program knows no %s", name, variable)
		}
		cfg, err := config.Load(environ(service))
		require.NoError(t, err, name)
		if isLongRunning(service) && strings.HasPrefix(name, "worker") {
			const cancelAndClose = 20 * time.Second
			require.Greater(t, time.Duration(*service.StopGracePeriod), cfg.ShutdownTimeout.Std()+cancelAndClose, name)
		}
		if name == demoServer {
			require.Empty(t, service.Environment, "a partner knows nothing of ours")
			continue
		}

		require.NoError(t, cfg.RequireEncryptionKey())
		key, err := base64.StdEncoding.DecodeString(env(t, service, "WEBHOOK_ENCRYPTION_KEY"))
		require.NoError(t, err)
		require.Len(t, key, 32)

		target, err := url.Parse(string(cfg.DatabaseURL))
		require.NoError(t, err)
		require.Equal(t, net.JoinHostPort(database, "5432"), target.Host)
		require.Equal(t, env(t, postgres, "POSTGRES_USER"), target.User.Username())
		require.Equal(t, env(t, postgres, "POSTGRES_PASSWORD"), env(t, service, "PGPASSWORD"))
		require.Equal(t, "/"+env(t, postgres, "POSTGRES_DB"), target.Path)
	}
}

// flag returns the value that a command gives a flag, as --flag=value or --flag value.
func flag(t *testing.T, service types.ServiceConfig, name string) string {
	t.Helper()

	for i, word := range service.Command {
		if value, found := strings.CutPrefix(word, name+"="); found {
			return value
		}
		if word == name {
			return service.Command[i+1]
		}
	}
	require.Failf(t, "no such flag", "%s: %s in %q", service.Name, name, service.Command)
	return ""
}

func TestDemo(t *testing.T) {
	t.Parallel()

	project := load(t, nil)
	client, server := project.Services[demoClient], project.Services[demoServer]

	encoded, found := strings.CutPrefix(flag(t, server, "--secret"), "whsec_")
	require.True(t, found)
	secret, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	require.Len(t, secret, 32)
	require.Equal(t, flag(t, server, "--secret"), flag(t, client, "--secret"))

	target, err := url.Parse(flag(t, client, "--url"))
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(flag(t, server, "--addr"))
	require.NoError(t, err)
	require.Equal(t, net.JoinHostPort(demoServer, port), target.Host)
	require.Equal(t, flag(t, client, "--user"), flag(t, project.Services["demo-call"], "--user"))
}

func TestHealthchecks(t *testing.T) {
	t.Parallel()

	project := load(t, nil)
	for name, service := range programs(project) {
		if service.HealthCheck != nil {
			require.Equal(t, []string{"CMD", binary}, []string(service.HealthCheck.Test[:2]), "%s: the image has no shell", name)
		}
	}
	require.NotNil(t, project.Services["worker-1"].HealthCheck)
	require.NotNil(t, project.Services["worker-2"].HealthCheck)

	postgres := project.Services[database]
	require.Equal(t, types.HealthCheckTest{
		"CMD", "pg_isready", "--host=127.0.0.1", // not the socket, on which the server of initdb answers
		"--username=" + env(t, postgres, "POSTGRES_USER"),
		"--dbname=" + env(t, postgres, "POSTGRES_DB"),
	}, postgres.HealthCheck.Test)
}

func TestWorkersHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()

	project := load(t, nil)
	require.NotEqual(t,
		flag(t, project.Services["worker-1"], "--instance"),
		flag(t, project.Services["worker-2"], "--instance"))
}
