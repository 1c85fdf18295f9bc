package composetest

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

func TestContainersAreLockedDown(t *testing.T) {
	t.Parallel()

	for name, service := range load(t, nil).Services {
		require.True(t, service.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, service.CapDrop, name)
		require.Empty(t, service.CapAdd, name)
		require.Equal(t, []string{"no-new-privileges:true"}, service.SecurityOpt, name)
		require.False(t, service.Privileged, name)
		require.Empty(t, service.NetworkMode, name)
		for _, volume := range service.Volumes {
			require.Equal(t, types.VolumeTypeVolume, volume.Type, "%s: nothing of the machine's is mounted", name)
			require.NotEmpty(t, volume.Source, "%s: data outlives its container", name)
		}
		if name == database {
			require.Equal(t, "postgres", service.User)
		} else {
			require.Empty(t, service.User, "%s: the image's user, which is not root", name)
		}
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()

	for name, service := range load(t, nil).Services {
		if name != "serve" {
			require.Empty(t, service.Ports, name)
			continue
		}
		require.Len(t, service.Ports, 1)
		port := service.Ports[0]
		require.Equal(t, "127.0.0.1", port.HostIP)
		require.Equal(t, "8080", port.Published)
		_, listening, err := net.SplitHostPort(flag(t, service, "--addr"))
		require.NoError(t, err)
		require.Equal(t, listening, strconv.FormatUint(uint64(port.Target), 10))
	}
}

func TestImages(t *testing.T) {
	t.Parallel()

	project := load(t, nil)
	var builders []string
	for name, service := range project.Services {
		_, tag, found := strings.Cut(service.Image, ":")
		require.True(t, found && tag != "latest", "%s: %s says no version", name, service.Image)
		if service.Build != nil {
			builders = append(builders, name)
		}
	}
	require.Equal(t, []string{"migrate"}, builders, "a second builder of one tag can fail with: already exists")

	image := project.Services["migrate"].Image
	for name, service := range programs(project) {
		require.Equal(t, image, service.Image, name)
		require.Equal(t, types.PullPolicyNever, service.PullPolicy, "%s: no registry has it", name)
		require.Empty(t, service.Entrypoint, "%s: the image's", name)
	}
}

// Partners' URLs may lead to the receiver and not to the database.
func TestNetworks(t *testing.T) {
	t.Parallel()

	const partners = "partners"
	project := load(t, nil)
	ipam := project.Networks[partners].Ipam.Config
	require.Len(t, ipam, 1)

	members := map[string][]string{}
	for name, service := range project.Services {
		members[name] = slices.Sorted(maps.Keys(service.Networks))
		if name != database && name != demoServer {
			require.Equal(t, ipam[0].Subnet, env(t, service, "WEBHOOK_ALLOW_NETWORKS"), name)
			require.Contains(t, members[name], "default", "%s: the way to the database", name)
		}
	}
	require.Equal(t, []string{"default"}, members[database])
	require.Equal(t, []string{partners}, members[demoServer])
	require.Equal(t, []string{"default", partners}, members["worker-1"])
	require.Equal(t, []string{"default", partners}, members["worker-2"])
}
