//go:build system

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
	"github.com/kudev/kudev/modload/modloadtest"
)

// TestLoadingAndRemovalAgreeWithKmod runs testdata/kmod-guest.txt in a guest with Debian's kernel, line by line: with kmod's programs from
// the first to the last, then with ours. Output, exit status and what is in the kernel then are to be the same. Independent modules are
// loaded side by side, so the order of lines does not matter.
func TestLoadingAndRemovalAgreeWithKmod(t *testing.T) {
	debian := vmtest.Debian(t)
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	if err := debian.AddKmod(root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modprobe", "insmod", "rmmod", "lsmod"} {
		root.Symlink("/lib/kudev/"+name, "/bin/kudev")
	}
	dummy, err := os.ReadFile(filepath.Join(debian.Modules(), "kernel/drivers/net/dummy.ko"))
	if err != nil {
		t.Fatal(err)
	}
	var gz, zst bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(dummy)
	w.Close()
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(dummy)
	z.Close()
	root.File("/root/dummy.ko.gz", gz.String(), 0o644)
	root.File("/root/dummy.ko.zst", zst.String(), 0o644)
	root.File("/root/cut.ko", string(dummy[:len(dummy)/2]), 0o644)
	root.File("/root/text.ko", "this is no module, and long enough to be looked at by whoever believes its name\n", 0o644)
	root.File("/root/other.ko", string(modloadtest.Module{Name: "other", Machine: 183}.Image()), 0o644)
	root.File("/etc/modprobe.d/kd.conf", `alias kd-black loop
alias kd-alias dummy
blacklist loop
options dummy numdummies=3
install kd_install echo "install $MODPROBE_MODULE $CMDLINE_OPTS"
remove kd_install echo removed
`, 0o644)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Bare(), Root: root})

	lines := readCases(t, "testdata/kmod-guest.txt")
	state := func() string {
		return g.Sh(`while read -r name size users by rest; do echo "$name $users $(echo "$by" | tr , '\n' | sort | tr '\n' ' ')"; done </proc/modules | sort
			cat /sys/module/loop/parameters/max_loop 2>/dev/null; ls /sys/class/net | grep -c dummy || true`)
	}
	start := state()
	reset := `for i in 1 2 3 4 5 6; do for m in $(cut -d' ' -f1 /proc/modules); do
		case " ` + strings.Join(moduleNames(start), " ") + ` " in *" $m "*) ;; *) rmmod $m 2>/dev/null || true;; esac
	done; done`
	run := func(side string) (said, states []string) {
		for _, c := range lines {
			words := shellWords(strings.ReplaceAll(c.command, "$RELEASE", debian.Release()))
			words[0] = "/lib/" + side + "/" + words[0]
			r := g.Do(words...)
			said = append(said, fmt.Sprintf("exit status %d\n%s", r.Code, sortedLines(r.Stdout)))
			if c.differs {
				g.Sh(reset)
			}
			states = append(states, state())
		}
		g.Sh(reset)
		if end := state(); end != start {
			t.Fatalf("%s: what was loaded cannot be removed:\n%s", side, end)
		}
		return said, states
	}
	theirs, theirStates := run("kmod")
	ours, ourStates := run("kudev")
	for i, c := range lines {
		t.Run(c.command, func(t *testing.T) {
			if differs := theirs[i] != ours[i]; differs != c.differs {
				t.Errorf("differs: %t, expected: %t\nkmod: %s\nours: %s", differs, c.differs, theirs[i], ours[i])
			}
			if theirStates[i] != ourStates[i] {
				t.Errorf("in the kernel after it:\n%s", firstDifference(theirStates[i], ourStates[i]))
			}
		})
	}
}

func moduleNames(state string) (names []string) {
	for line := range strings.Lines(state) {
		if name, _, ok := strings.Cut(line, " "); ok {
			names = append(names, name)
		}
	}
	return names
}

type kmodCase struct {
	command string
	differs bool
}

func readCases(t *testing.T, file string) []kmodCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []kmodCase
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			command, how, _ := strings.Cut(line, " # ")
			cases = append(cases, kmodCase{strings.TrimSpace(command), strings.HasPrefix(how, "but ")})
		}
	}
	return slices.Clip(cases)
}
