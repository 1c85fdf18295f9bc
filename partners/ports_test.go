package partners

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePorts(t *testing.T) {
	t.Parallel()

	for text, want := range map[string]string{
		"80":                "80",
		"80,443, 8000-9999": "80,443,8000-9999",
		"1-65535":           "1-65535",
		"9-9":               "9",
		" 1 , 2 ":           "1,2",
		"0080":              "80",
	} {
		var ports Ports
		require.NoError(t, ports.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, ports.String())
	}
	for _, text := range []string{"", ",", "80,", "0", "0-10", "65536", "10-9", "-1", "80-", "-", "1-2-3", "http", "80;443", "80 443", "1 - 2", "0x50", "+80", "８０", strings.Repeat("9", 40)} {
		_, err := ParsePorts(text)
		require.ErrorContains(t, err, "is not a port or a range", text)
	}
	require.Empty(t, Ports(nil).String())
}
