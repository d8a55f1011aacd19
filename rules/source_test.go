package rules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSourcesByMode(t *testing.T) {
	root := t.TempDir()
	var dirs []string
	for _, dir := range StandardDirs() {
		dirs = append(dirs, root+dir)
	}
	shown := func(mode Mode) string {
		var names []string
		for _, s := range Sources(mode, dirs) {
			names = append(names, strings.TrimPrefix(s.Dir, root))
		}
		return strings.Join(names, " ")
	}
	all := strings.Join(StandardDirs(), " ")
	for mode, want := range map[Mode]string{
		Auto:            all + " embedded",
		DirectoriesOnly: all,
		EmbeddedOnly:    "/etc/udev/rules.d /run/udev/rules.d /usr/local/lib/udev/rules.d embedded",
	} {
		if got := shown(mode); got != want {
			t.Errorf("%s without a distribution's rules: %s, want %s", mode, got, want)
		}
	}
	lib := root + "/usr/lib/udev/rules.d"
	if err := os.MkdirAll(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lib, "50-udev-default.rules"), []byte("# here\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := shown(Auto); got != all {
		t.Errorf("auto with a distribution's rules: %s", got)
	}
}

func TestOneDirectoryUnderTwoNamesCountsOnce(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/usr/lib/udev/rules.d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/lib", root+"/lib"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/usr/lib/udev/rules.d/10-a.rules", []byte("TAG+=\"a\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	files, problems := Files(Dirs(root+"/usr/lib/udev/rules.d", root+"/lib/udev/rules.d"))
	if len(files) != 1 || len(problems) > 0 {
		t.Errorf("%v %v", files, problems)
	}
}

func TestAFileThatCannotBeReadIsSaidAndTheRestCounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/05-directory.rules", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("05-directory.rules", dir+"/07-link.rules"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/10-a.rules", []byte("TAG+=\"a\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	set, problems := Parse(Dirs(dir, dir+"/nowhere"))
	if len(set.Files) != 1 || len(problems) != 1 || !strings.HasSuffix(problems[0].Error(), "07-link.rules: it is no regular file") {
		t.Errorf("%v %v", set.Files, problems)
	}
	if !slices.ContainsFunc(set.Files, func(f *File) bool { return f.Name == dir+"/10-a.rules" }) {
		t.Errorf("%v", set.Files)
	}
}
