package coldplug

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kudev/kudev/hotplug"
)

// tree makes a sysfs out of lines: "DEVPATH SUBSYSTEM attr=value …" is a device (SUBSYSTEM "-" makes a directory alone,
// "bus/usb" or "class/net" tells where its link goes), and "link FROM TO" a symbolic link.
func tree(t *testing.T, lines ...string) hotplug.Roots {
	t.Helper()
	root := t.TempDir()
	roots := hotplug.Roots{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"), Run: filepath.Join(root, "run")}
	for _, d := range []string{roots.Sys + "/devices", roots.Dev, roots.Run} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range lines {
		grow(t, roots, line)
	}
	return roots
}

func grow(t *testing.T, roots hotplug.Roots, line string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f := strings.Fields(line)
	if f[0] == "link" {
		from := roots.Sys + f[1]
		must(os.MkdirAll(filepath.Dir(from), 0o755))
		rel, err := filepath.Rel(filepath.Dir(from), roots.Sys+f[2])
		must(err)
		must(os.Symlink(rel, from))
		return
	}
	dir := roots.Sys + f[0]
	must(os.MkdirAll(dir, 0o755))
	for _, a := range f[2:] {
		name, value, _ := strings.Cut(a, "=")
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(value, "_", " ")+"\n"), 0o644))
	}
	if f[1] == "-" {
		return
	}
	must(os.WriteFile(dir+"/uevent", nil, 0o644))
	where := roots.Sys + "/" + f[1]
	must(os.MkdirAll(where, 0o755))
	rel, err := filepath.Rel(dir, where)
	must(err)
	must(os.Symlink(rel, dir+"/subsystem"))
	folder := where
	if strings.HasPrefix(f[1], "bus/") {
		folder += "/devices"
		must(os.MkdirAll(folder, 0o755))
	}
	rel, err = filepath.Rel(folder, dir)
	must(err)
	must(os.Symlink(rel, filepath.Join(folder, filepath.Base(dir))))
}

func paths(items []Item) string {
	var b strings.Builder
	for _, i := range items {
		b.WriteString(i.Devpath + "\n")
	}
	return b.String()
}
