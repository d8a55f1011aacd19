//go:build system

package rules

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/kudev/kudev/testdata/debian"
)

// The cases are also put to systemd's own udevadm, from Debian's package: udevadm test, in a namespace in which the
// case's directories are /sys, /run and /dev. What a case says must be what udev does, but for what the case itself says of
// systemd 252, and for what cannot be brought about there: results of builtins, kernel parameters, the machine's kind.
func TestCasesAgreeWithUdevadm(t *testing.T) {
	cache, err := debian.Cache()
	if err != nil {
		t.Fatal(err)
	}
	udevadm := cache + "/udev/bin/udevadm"
	if _, err := os.Stat(udevadm); err != nil {
		t.Fatalf("%v: run sh testdata/debian/fetch", err)
	}
	if os.Getuid() != 0 {
		t.Fatal("udevadm needs a namespace of its own: run this as root")
	}
	if out, err := exec.Command(udevadm, "--version").CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s: run apt-get install libkmod2 libacl1 libblkid1 libcap2 libselinux1", udevadm, err, out)
	}
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if notForUdevadm.Match(text) {
			continue
		}
		compared++
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			dir := t.TempDir()
			c := readCase(t, string(text), dir)
			var want []string
			for _, line := range c.expect {
				if word, _, _ := strings.Cut(line, " "); !slices.Contains([]string{"error", "warning", "ran", "watch", "persist", "seclabel", "static"}, word) {
					if word == "priority" && c.event.Action() == "remove" {
						continue // the record is gone
					}
					want = append(want, runKind.ReplaceAllString(line, "run $1 "))
				}
			}
			got := c.udevadm(t, udevadm, cache+"/busybox-static/bin/busybox", dir)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n(-the case says +udevadm does)\n%s", c.title, diff)
			}
		})
	}
	t.Logf("%d of %d cases compared", compared, len(files))
}

var (
	notForUdevadm = regexp.MustCompile(`(?m)^(builtin|sysctl|const|global|udev252) `)
	runKind       = regexp.MustCompile(`^run (\d+) (builtin|program) `)
	logged        = map[string]*regexp.Regexp{
		"owner": regexp.MustCompile(`(?m):\d+ OWNER (?:.*\()?(\d+)`),
		"group": regexp.MustCompile(`(?m):\d+ GROUP (?:.*\()?(\d+)`),
		"mode":  regexp.MustCompile(`(?m):\d+ MODE (\d+)`),
		"name":  regexp.MustCompile(`(?m):\d+ NAME '(.*)'`),
	}
)

func (c *testCase) udevadm(t *testing.T, udevadm, busybox, dir string) []string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string, mode fs.FileMode) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(name), 0o755))
		must(os.WriteFile(name, []byte(text), mode))
	}
	for _, d := range []string{"/lib", "/etc", "/run/udev/rules.d"} {
		must(os.MkdirAll(dir+d, 0o755))
	}
	must(os.MkdirAll(dir+"/lib/rules.d", 0o755))
	for _, source := range c.sources {
		at := dir + "/run/udev/rules.d/"
		if source.Dir == "lib" {
			at = dir + "/lib/rules.d/"
		}
		for name, file := range source.FS.(fstest.MapFS) {
			if file.Mode&fs.ModeDevice != 0 {
				must(os.Symlink("/dev/null", at+name))
			} else {
				write(at+name, string(file.Data), 0o644)
			}
		}
	}
	programs := map[string]string{}
	for command, out := range c.host.Programs {
		name, args, _ := strings.Cut(command, " ")
		write(dir+name+".out"+fmt.Sprint(len(programs)), out, 0o644)
		programs[name] += fmt.Sprintf("[ \"$*\" = '%s' ] && { cat %s.out%d; exit 0; }\n", args, name, len(programs))
	}
	for name, script := range programs {
		write(dir+name, "#!"+busybox+" sh\ncat() { "+busybox+" cat \"$@\"; }\n"+script+"exit 1\n", 0o755)
	}
	passwd, group := "root:x:0:0::/:/bin/sh\n", "root:x:0:\n"
	for name, id := range c.host.Names {
		passwd += fmt.Sprintf("%s:x:%d:%d::/:/bin/sh\n", name, id, id)
		group += fmt.Sprintf("%s:x:%d:\n", name, id)
	}
	write(dir+"/etc/passwd", passwd, 0o644)
	write(dir+"/etc/group", group, 0o644)
	uevent := ""
	for key, value := range c.event.All() {
		switch key {
		case "ACTION", "DEVPATH", "SUBSYSTEM":
		default:
			uevent += key + "=" + value + "\n"
		}
	}
	write(dir+"/sys"+c.event.Devpath()+"/uevent", uevent, 0o644)

	script := `set -e
		mount --make-rprivate /
		mknod "$D/dev/null" c 1 3
		mount --bind "$D/lib" /usr/lib/udev
		mount --bind "$D/etc/passwd" /etc/passwd
		mount --bind "$D/etc/group" /etc/group
		mount --bind "$D/dev" /dev
		mount --bind "$D/run" /run
		mount --bind "$D/sys" /sys
		exec timeout 20 "$U" test "--action=$A" "$P"`
	cmd := exec.Command("unshare", "--mount", "--net", "sh", "-c", script)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "D=" + dir, "U=" + udevadm, "A=" + c.event.Action(), "P=/sys" + c.event.Devpath(),
		"SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_DEVICE_VERIFY_SYSFS=0", "SYSTEMD_PROC_CMDLINE=" + c.host.Cmdline,
	}
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Logf("udevadm: %v", err)
	}
	if testing.Verbose() {
		t.Log(log.String(), out.String())
	}
	return c.readUdevadm(t, dir, out.String(), log.String())
}

// readUdevadm puts what udevadm test printed into a case's words.
func (c *testCase) readUdevadm(t *testing.T, dir, out, log string) []string {
	t.Helper()
	var got []string
	before := maps.Collect(c.event.All())
	after := map[string]bool{}
	runs := 0
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "run: '"); ok {
			runs++
			got = append(got, fmt.Sprintf("run %d %s", runs, strings.TrimSuffix(command, "'")))
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsAny(key, " ") {
			continue
		}
		after[key] = true
		switch key {
		case "DEVLINKS":
			for link := range strings.FieldsSeq(value) {
				got = append(got, "link "+strings.TrimPrefix(link, "/dev/"))
			}
		case "CURRENT_TAGS":
			for _, tag := range strings.Split(strings.Trim(value, ":"), ":") {
				got = append(got, "tag "+tag)
			}
		case "TAGS", "USEC_INITIALIZED", "DEVNAME", "ID_RENAMING", "UDEV_DATABASE_VERSION", "DEVPATH", "INTERFACE", "INTERFACE_OLD":
		default:
			if before[key] != value {
				got = append(got, line)
			}
		}
	}
	for key := range before {
		if !after[key] && key != "DEVNAME" {
			got = append(got, "without "+key)
		}
	}
	for word, pattern := range logged {
		if all := pattern.FindAllStringSubmatch(log, -1); all != nil {
			value := all[len(all)-1][1]
			if word == "mode" {
				value = fmt.Sprintf("%04s", strings.TrimLeft(value, "0"))
			}
			if value != "4294967295" {
				got = append(got, word+" "+value)
			}
		}
	}
	dev := c.roots.EventDevice(c.event)
	if rec, err := c.roots.Record(dev.ID()); err == nil && rec.Priority != 0 {
		got = append(got, fmt.Sprintf("priority %d", rec.Priority))
	}
	n := 0
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, "ATTR '"); ok {
			if target, value, ok := strings.Cut(strings.TrimSuffix(rest, "'\n"), "' writing '"); ok {
				n++
				got = append(got, fmt.Sprintf("write %d %s = %s", n, target, value))
			}
		}
	}
	return got
}
