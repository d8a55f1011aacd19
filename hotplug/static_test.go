package hotplug_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

func TestStaticNodesAreRead(t *testing.T) {
	nodes, err := hotplug.ParseStaticNodes("# a comment\nfuse fuse c10:229\n\ntun net/tun c10:200\nloop loop b7:0\nbad line\nx ../escape c1:1\ny z c1\n")
	if got, want := fmt.Sprint(nodes), "[{fuse fuse 10:229 false} {tun net/tun 10:200 false} {loop loop 7:0 true}]"; got != want {
		t.Errorf("got %s", got)
	}
	for _, word := range []string{"line 6", "line 7", "line 8"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no word of %s: %v", word, err)
		}
	}
}

func FuzzParseStaticNodes(f *testing.F) {
	f.Add("fuse fuse c10:229\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		nodes, _ := hotplug.ParseStaticNodes(text)
		for _, n := range nodes {
			if strings.Contains("/"+n.Name+"/", "/../") || n.Name[0] == '/' {
				t.Fatalf("%q leads out", n.Name)
			}
		}
	})
}

func TestStaticNodeGetsItsRule(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	must(t, os.Mkdir(roots.Dev+"/snd", 0o755))
	must(t, os.WriteFile(roots.Dev+"/snd/timer.0", nil, 0o600))
	mode := fs.FileMode(0o640)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	must(t, roots.ApplyStaticNode("snd/timer.0", hotplug.NodeResult{UID: &uid, GID: &gid, Mode: &mode}, []string{"uaccess"}))
	must(t, roots.ApplyStaticNode("not/there", hotplug.NodeResult{Mode: &mode}, nil))
	if got, want := strings.Join(kept(t, roots), "\n"), "dev/snd/timer.0 -rw-r----- 0\n"+`run/udev/static_node-tags/uaccess/snd\x2ftimer\x2e0 -> /dev/snd/timer.0`; got != want {
		t.Errorf("got\n%s", got)
	}
	if err := roots.ApplyStaticNode("../escape", hotplug.NodeResult{Mode: &mode}, nil); err == nil {
		t.Error("a name that leads out was taken")
	}
}

func TestStaticNodeKeepsWhatItsRuleDoesNotName(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	must(t, os.WriteFile(roots.Dev+"/fuse", nil, 0o600))
	must(t, os.Chmod(roots.Dev+"/fuse", 0o666))
	uid := uint32(os.Getuid())
	must(t, roots.ApplyStaticNode("fuse", hotplug.NodeResult{UID: &uid}, nil))
	must(t, roots.ApplyStaticNode("fuse", hotplug.NodeResult{}, []string{"uaccess"}))
	if st, err := os.Stat(roots.Dev + "/fuse"); err != nil || st.Mode() != 0o666 {
		t.Errorf("the mode is %v, %v", st.Mode(), err)
	}
}

func TestStandardLinksAreMadeOnce(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	must(t, os.Symlink("elsewhere", roots.Dev+"/stdin"))
	must(t, roots.MakeStandardLinks())
	must(t, roots.MakeStandardLinks())
	if target(t, roots.Dev+"/fd") != "/proc/self/fd" || target(t, roots.Dev+"/stdin") != "elsewhere" || target(t, roots.Dev+"/stderr") != "/proc/self/fd/2" {
		t.Errorf("got %v", kept(t, roots))
	}
}
