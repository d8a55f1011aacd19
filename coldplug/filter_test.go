package coldplug

import (
	"context"
	"testing"
)

func TestFilterTakesWhatUdevadmTriggerTakes(t *testing.T) {
	roots := tree(t,
		"/devices/pci/0000:00:01.0 bus/pci vendor=0x8086",
		"/devices/pci/0000:00:01.0/net/eth0 class/net mtu=1500 ifalias=a_b",
		"/devices/pci/0000:00:02.0 bus/pci vendor=0x1af4",
		"/devices/virtual/block/loop0 class/block ro=0",
	)
	items, err := Walk(context.Background(), roots, Devices)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"nothing asked":         {Filter{}, paths(items)},
		"subsystem":             {Filter{Subsystems: []string{"bl*", "net"}}, "/devices/virtual/block/loop0\n/devices/pci/0000:00:01.0/net/eth0\n"},
		"subsystem-nomatch":     {Filter{NoSubsystems: []string{"pci", "net"}}, "/devices/virtual/block/loop0\n"},
		"attribute that exists": {Filter{Attrs: []string{"mtu"}}, "/devices/pci/0000:00:01.0/net/eth0\n"},
		"attribute's pattern":   {Filter{Attrs: []string{"vendor=0x8*"}}, "/devices/pci/0000:00:01.0\n"},
		"all attributes":        {Filter{Attrs: []string{"mtu=1500", "ifalias=x"}}, ""},
		"attr-nomatch":          {Filter{NoAttrs: []string{"vendor=0x1af4", "mtu", "ro"}}, "/devices/pci/0000:00:01.0\n"},
		"sysname":               {Filter{Sysnames: []string{"loop?"}}, "/devices/virtual/block/loop0\n"},
		"parent":                {Filter{Parents: []string{"/devices/pci/0000:00:01.0"}}, "/devices/pci/0000:00:01.0\n/devices/pci/0000:00:01.0/net/eth0\n"},
	} {
		got, err := c.f.Select(context.Background(), roots, items)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if paths(got) != c.want {
			t.Errorf("%s: got\n%swant\n%s", name, paths(got), c.want)
		}
	}
}

func TestGlobIsTheShellsAndCrossesSlashes(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"a*c", "a/b/c", true}, {"a*c", "a/b/d", false}, {"?", "/", true}, {"?", "", false},
		{"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[]]", "]", true}, {"[", "[", true}, {`\*`, "*", true}, {`\*`, "a", false},
		{"a*b*c", "aXbYbZc", true}, {"a**", "a", true}, {"", "", true}, {"", "a", false}, {"[a", "[a", true},
	} {
		if got := Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*[b-d]?", "axxcx")
	f.Add("[]", "]")
	f.Add(`\`, `\`)
	f.Fuzz(func(t *testing.T, pattern, s string) {
		Glob(pattern, s)
		if !Glob("*", s) {
			t.Errorf("* does not match %q", s)
		}
	})
}
