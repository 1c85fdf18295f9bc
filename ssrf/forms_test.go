//go:build ssrf

package ssrf

// form is a way to write a URL that leads where partners may not.
type form struct {
	what string
	urls []string
}

var forms = []form{
	{"loopback", []string{"http://127.0.0.1/", "http://127.8.8.8/", "http://[::1]/"}},
	{"private", []string{"http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/"}},
	{"link-local, metadata", []string{"http://169.254.169.254/", "http://169.254.170.2/", "http://[fe80::1]/"}},
	{"CGNAT", []string{"http://100.64.0.1/", "http://100.100.100.200/"}},
	{"benchmark", []string{"http://198.18.0.1/", "http://[2001:2::1]/"}},
	{"documentation", []string{"http://192.0.2.1/", "http://198.51.100.1/", "http://203.0.113.1/", "http://[2001:db8::1]/", "http://[3fff::1]/"}},
	{"multicast", []string{"http://224.0.0.1/", "http://[ff02::1]/"}},
	{"reserved", []string{"http://240.0.0.1/", "http://192.0.0.192/", "http://[100::1]/", "http://[4000::1]/"}},
	{"broadcast", []string{"http://255.255.255.255/"}},
	{"this host", []string{"http://0.0.0.0/", "http://0.1.2.3/", "http://[::]/"}},
	{"unique local", []string{"http://[fd00:ec2::254]/", "http://[fc00::1]/"}},
	{"IPv4-mapped", []string{"http://[::ffff:169.254.169.254]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:10.0.0.1]/"}},
	{"IPv4-compatible", []string{"http://[::127.0.0.1]/"}},
	{"NAT64", []string{"http://[64:ff9b::169.254.169.254]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::a00:1]/"}},
	{"6to4", []string{"http://[2002:a9fe:a9fe::1]/", "http://[2002:7f00:1::]/", "http://[2002:a00:1::1]/"}},
	{"Teredo", []string{"http://[2001:0:7f00:1::]/"}},
	{"zone", []string{"http://[fe80::1%25lo]/", "http://[2606:4700:4700::1111%25lo]/"}},
	{"odd IPv4", []string{
		"http://0x7f.1/", "http://2130706433/", "http://127.1/", "http://0177.0.0.1/", "http://0x7f000001/", "http://127.0.0.1./", "http://１２７.0.0.1/", "http://0/",
	}},
	{"localhost", []string{"http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://localhost.localdomain/", "http://ip6-localhost/"}},
	{"private name", []string{"http://metadata/", "http://metadata.google.internal/", "http://router.lan/", "http://printer.local/"}},
	{"port", []string{"http://8.8.8.8:22/", "http://example.com:22/", "https://[2606:4700:4700::1111]:5432/"}},
}

// controls are public and may be called: if they arrive, so would all others.
var controls = []string{"http://8.8.8.8/", "http://8.8.8.8:8080/", "http://[2606:4700:4700::1111]/", "http://[::ffff:8.8.8.8]/", "http://public.example/"}
