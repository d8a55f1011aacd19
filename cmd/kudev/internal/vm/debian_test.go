package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAMissingPackageNamesTheCommandThatBringsIt(t *testing.T) {
	t.Setenv("KUDEV_DEBIAN", t.TempDir())
	if _, err := OpenDebian(); err == nil || !strings.Contains(err.Error(), "package linux") || !strings.Contains(err.Error(), "make packages") {
		t.Errorf("got %v", err)
	}
}

func TestAMissingQEMUNamesTheCommandThatBringsIt(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUDEV_DEBIAN", dir)
	t.Setenv("PATH", dir)
	if err := os.Mkdir(filepath.Join(dir, "linux"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{".complete", "release"} {
		if err := os.WriteFile(filepath.Join(dir, "linux", f), []byte("6.1.0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDebian()
	if err != nil {
		t.Fatal(err)
	}
	if d.Release() != "6.1.0" {
		t.Errorf("the release is %q", d.Release())
	}
	if _, err := Boot(t.Context(), Options{Debian: d}); err == nil || !strings.Contains(err.Error(), "qemu-system-x86_64") || !strings.Contains(err.Error(), "make packages") {
		t.Errorf("got %v", err)
	}
}
