//go:build examples

// Package kubernetes_test checks the manifest against Kubernetes' own types, and against the program.
package kubernetes_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/epicvoice/webhook-worker/internal/config"
)

// manifest is what the file holds.
type manifest struct {
	config  corev1.ConfigMap
	migrate batchv1.Job
	worker  appsv1.Deployment
	budget  policyv1.PodDisruptionBudget
	serve   appsv1.Deployment
	service corev1.Service
}

// read decodes the file; unknown and repeated fields, and values of the wrong type, are errors.
func read(t *testing.T) *manifest {
	t.Helper()
	content, err := os.ReadFile("webhook-worker.yaml")
	require.NoError(t, err)
	var m manifest
	parts := strings.Split(string(content), "\n---\n")
	into := []any{&m.config, &m.migrate, &m.worker, &m.budget, &m.serve, &m.service}
	require.Len(t, parts, len(into))
	for i, part := range parts {
		require.NoError(t, yaml.UnmarshalStrict([]byte(part), into[i]))
	}
	return &m
}

func (m *manifest) pods() map[string]corev1.PodSpec {
	return map[string]corev1.PodSpec{"migrate": m.migrate.Spec.Template.Spec, "worker": m.worker.Spec.Template.Spec, "serve": m.serve.Spec.Template.Spec}
}

func TestSelectorsFit(t *testing.T) {
	t.Parallel()
	m := read(t)
	worker, serve := m.worker.Spec.Template.Labels, m.serve.Spec.Template.Labels
	require.Equal(t, worker, m.worker.Spec.Selector.MatchLabels)
	require.Equal(t, worker, m.budget.Spec.Selector.MatchLabels)
	require.Equal(t, worker, m.worker.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels)
	require.Equal(t, serve, m.serve.Spec.Selector.MatchLabels)
	require.Equal(t, serve, m.service.Spec.Selector)
	require.NotEqual(t, worker, serve)
}

func TestWorkersGetTimeToStop(t *testing.T) {
	t.Parallel()
	m := read(t)
	shutdown, err := time.ParseDuration(m.config.Data["SHUTDOWN_TIMEOUT"] + "s")
	require.NoError(t, err)
	const writing = 40 * time.Second // what a worker may take beyond SHUTDOWN_TIMEOUT: docs/design.md
	require.Greater(t, time.Duration(*m.worker.Spec.Template.Spec.TerminationGracePeriodSeconds)*time.Second, shutdown+writing)
}

func TestVariablesExist(t *testing.T) {
	t.Parallel()
	m := read(t)
	cfg, err := config.Load(nil)
	require.NoError(t, err)
	known := map[string]bool{"POD_NAME": true}
	for _, variable := range cfg.Variables() {
		known[variable.Name] = true
		known[variable.Name+"_FILE"] = variable.Secret
	}
	for name := range m.config.Data {
		require.True(t, known[name], name)
	}
	for _, pod := range m.pods() {
		for _, variable := range pod.Containers[0].Env {
			require.True(t, known[variable.Name], variable.Name)
		}
	}
}

// environ is what a pod's container has in its environment, without what Kubernetes fills in.
func (m *manifest) environ(pod *corev1.PodSpec) map[string]string {
	environ := map[string]string{}
	if len(pod.Containers[0].EnvFrom) > 0 {
		maps.Copy(environ, m.config.Data)
	}
	for _, variable := range pod.Containers[0].Env {
		if variable.ValueFrom == nil {
			environ[variable.Name] = variable.Value
		}
	}
	return environ
}

// Each pod has the secrets that its variables name, and no others.
func TestPodsHaveTheSecretsThatTheyNeed(t *testing.T) {
	t.Parallel()
	m := read(t)
	for name, pod := range m.pods() {
		var named, mounted []string
		for variable, value := range m.environ(&pod) {
			if strings.HasSuffix(variable, "_FILE") {
				named = append(named, value)
			}
		}
		for _, item := range pod.Volumes[0].Secret.Items {
			require.Equal(t, item.Key, item.Path, name)
			mounted = append(mounted, pod.Containers[0].VolumeMounts[0].MountPath+"/"+item.Path)
		}
		require.ElementsMatch(t, named, mounted, name)
	}
}

func TestPodsAreLockedDown(t *testing.T) {
	t.Parallel()
	for name, pod := range read(t).pods() {
		container := pod.Containers[0]
		require.False(t, *pod.AutomountServiceAccountToken, name)
		require.True(t, *pod.SecurityContext.RunAsNonRoot, name)
		require.True(t, *container.SecurityContext.ReadOnlyRootFilesystem, name)
		require.False(t, *container.SecurityContext.AllowPrivilegeEscalation, name)
		require.Equal(t, []corev1.Capability{"ALL"}, container.SecurityContext.Capabilities.Drop, name)
		require.Equal(t, pod.Volumes[0].Name, container.VolumeMounts[0].Name, name)
		require.True(t, strings.HasPrefix(container.VolumeMounts[0].MountPath, "/secrets"), name)
	}
}

func TestProbesAskWhereTheProgramListens(t *testing.T) {
	t.Parallel()
	m := read(t)
	for address, pod := range map[string]corev1.PodSpec{":9090": m.worker.Spec.Template.Spec, ":8080": m.serve.Spec.Template.Spec} {
		container := pod.Containers[0]
		require.Len(t, container.Ports, 1)
		for path, probe := range map[string]*corev1.Probe{"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
			require.Equal(t, path, probe.HTTPGet.Path)
			require.Equal(t, container.Ports[0].Name, probe.HTTPGet.Port.StrVal)
		}
		listens := append([]string{m.config.Data["WORKER_HEALTH_ADDR"]}, container.Args...)
		require.Contains(t, listens, address)
		require.Equal(t, address, fmt.Sprintf(":%d", container.Ports[0].ContainerPort))
	}
	require.Equal(t, m.serve.Spec.Template.Spec.Containers[0].Ports[0].Name, m.service.Spec.Ports[0].TargetPort.StrVal)
}

// TestTheProgramTakesTheArguments runs it as each container does, with its secrets and without a database: its command line is
// understood.
func TestTheProgramTakesTheArguments(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "webhook-worker")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/webhook-worker").CombinedOutput()
	require.NoError(t, err, string(output))
	m := read(t)
	for name, pod := range m.pods() {
		arguments := append([]string(nil), pod.Containers[0].Args...)
		for i, argument := range arguments {
			arguments[i] = strings.ReplaceAll(argument, "$(POD_NAME)", "webhook-worker-5d8f7c9c6b-x2k4q")
		}
		secrets := t.TempDir()
		for _, item := range pod.Volumes[0].Secret.Items {
			require.NoError(t, os.WriteFile(filepath.Join(secrets, item.Path), []byte(map[string]string{
				"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "WEBHOOK_UI_PASSWORD": "a long password",
				"WEBHOOK_ENCRYPTION_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
			}[item.Key]), 0o600))
		}
		var stderr bytes.Buffer
		command := exec.CommandContext(t.Context(), program, arguments...)
		command.Env = []string{}
		for variable, value := range m.environ(&pod) {
			command.Env = append(command.Env, variable+"="+strings.Replace(value, "/secrets", secrets, 1))
		}
		command.Stderr = &stderr
		err := command.Run()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, name)
		require.Equal(t, 1, exit.ExitCode(), "%s: %s", name, stderr.String())
		require.Contains(t, stderr.String(), "connecting to postgres://nobody@127.0.0.1:1/none", name)
	}
}
