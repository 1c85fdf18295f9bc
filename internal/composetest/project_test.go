// Package composetest checks docker-compose.yml and the Dockerfile without Docker: what they say, and that
// what they say runs.
package composetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/epicvoice/webhook-worker/internal/testdb"
)

const (
	root        = "../.."
	composeFile = root + "/docker-compose.yml"

	// binary is where the image has the program.
	binary = "/webhook-worker"

	database   = "postgres"
	demoServer = "receiver"
	demoClient = "demo"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// details describes the compose file and the variables of the user's, of which none is needed.
func details(t *testing.T, environment types.Mapping) types.ConfigDetails {
	t.Helper()

	workingDir, err := filepath.Abs(root)
	require.NoError(t, err)
	content, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	return types.ConfigDetails{
		WorkingDir:  workingDir,
		ConfigFiles: []types.ConfigFile{{Filename: composeFile, Content: content}},
		Environment: environment,
	}
}

// load does what `docker compose config` does: it checks against the schema, interpolates and merges.
func load(t *testing.T, environment types.Mapping) *types.Project {
	t.Helper()

	project, err := loader.LoadWithContext(t.Context(), details(t, environment))
	require.NoError(t, err)
	return project
}

// programs are the services that run this program.
func programs(project *types.Project) types.Services {
	services := types.Services{}
	for name, service := range project.Services {
		if name != database {
			services[name] = service
		}
	}
	return services
}

// isLongRunning tells services that go on from those that do one thing and end.
func isLongRunning(service types.ServiceConfig) bool {
	return service.Restart == types.RestartPolicyUnlessStopped
}

// environ is a service's environment as its process gets it.
func environ(service types.ServiceConfig) []string {
	list := []string{} // not nil, which would be the test's own environment
	for name, value := range service.Environment {
		if value != nil {
			list = append(list, name+"="+*value)
		}
	}
	return list
}

// env returns a variable of a service's environment, which has to be there.
func env(t *testing.T, service types.ServiceConfig, name string) string {
	t.Helper()

	value := service.Environment[name]
	require.NotNil(t, value, "%s: %s", service.Name, name)
	return *value
}
