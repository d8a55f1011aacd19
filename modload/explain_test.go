package modload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kudev/kudev/modload/modloadtest"
	"golang.org/x/sys/unix"
)

func TestErrorNumberBecomesItsCause(t *testing.T) {
	module := func(m modloadtest.Module) *Module {
		path := filepath.Join(t.TempDir(), "m.ko")
		m.Name = "m"
		if err := modloadtest.WriteModule(path, m); err != nil {
			t.Fatal(err)
		}
		opened, err := OpenModule(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { opened.Close() })
		return opened
	}
	x86 := modloadtest.Module{Machine: 62}
	for _, c := range []struct {
		err    unix.Errno
		module *Module
		kernel Evidence
		want   string
	}{
		{unix.ENOEXEC, module(x86), Evidence{Machine: "x86_64", Release: "6.1.0-2-amd64"}, "built for 6.1.0-test, running is 6.1.0-2-amd64"},
		{unix.ENOEXEC, module(modloadtest.Module{Machine: 183}), Evidence{Machine: "x86_64", Release: "6.1.0-test"}, "built for aarch64, running is x86_64"},
		{unix.ENOEXEC, nil, Evidence{}, "not a kernel module: not an ELF file"},
		{unix.ENOEXEC, module(x86), Evidence{Machine: "x86_64", Release: "6.1.0-test", Log: []string{"disagrees about version of symbol foo"}}, "disagrees about version of symbol foo"},
		{unix.ENOENT, module(x86), Evidence{Log: []string{"Unknown symbol foo (err -2)", "something else"}}, "Unknown symbol foo (err -2)"},
		{unix.EINVAL, module(x86), Evidence{Log: []string{"disagrees about version of symbol foo", "Unknown symbol foo (err -22)"}}, "disagrees about version of symbol foo"},
		{unix.EINVAL, module(x86), Evidence{Log: []string{"`x' invalid for parameter `max'"}}, "`x' invalid for parameter `max'"},
		{unix.EKEYREJECTED, module(modloadtest.Module{Signer: "Test"}), Evidence{}, "its signature is not that of its content: it was changed after it was signed"},
		{unix.ENOENT, module(x86), Evidence{}, "unknown symbol in module, or unknown parameter (see dmesg)"},
		{unix.EKEYREJECTED, module(x86), Evidence{Enforced: true}, "it is not signed, and the kernel takes only signed modules (module.sig_enforce)"},
		{unix.EKEYREJECTED, module(modloadtest.Module{Signer: "Test"}), Evidence{Enforced: true, Log: []string{}}, "its signature is not that of its content: it was changed after it was signed"},
		{unix.EKEYREJECTED, module(modloadtest.Module{Signer: "Test"}), Evidence{Enforced: true, Log: []string{"Loading of module with unavailable key is rejected"}},
			"it is signed with a key that the kernel does not trust, and the kernel takes only signed modules (module.sig_enforce)"},
		{unix.EKEYREJECTED, module(modloadtest.Module{Signer: "Test"}), Evidence{Enforced: true, Log: []string{"Loading of unsigned module is rejected"}},
			"what is forced counts as not signed, and the kernel takes only signed modules (module.sig_enforce)"},
		{unix.EKEYREJECTED, module(modloadtest.Module{Signer: "Test"}), Evidence{Enforced: true},
			"its signature is not that of its content, or of a key that the kernel does not trust; the kernel takes only signed modules (module.sig_enforce)"},
		{unix.EPERM, module(modloadtest.Module{Signer: "Test"}), Evidence{Lockdown: "integrity"},
			"it is forced, or signed with a key that the kernel does not trust, and the kernel is locked down (integrity)"},
		{unix.EINVAL, nil, Evidence{}, "not a kernel module: not an ELF file"},
		{unix.EPERM, module(x86), Evidence{Lockdown: "integrity"}, "it is not signed, and the kernel is locked down (integrity)"},
		{unix.EPERM, module(x86), Evidence{Disabled: true}, "loading has ended for good (kernel.modules_disabled)"},
		{unix.EPERM, module(x86), Evidence{}, "operation not permitted (loading needs CAP_SYS_MODULE)"},
		{unix.ENOSYS, module(x86), Evidence{}, "this kernel cannot load modules"},
		{unix.EIO, module(x86), Evidence{}, "input/output error"},
		{unix.EIO, module(x86), Evidence{Log: []string{"no answer from the card"}}, "input/output error (the kernel said: no answer from the card)"},
	} {
		if got := explain(c.err, c.module, errNotELF, c.kernel); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestRefusalReadsAsOneSentenceAndKeepsItsNumber(t *testing.T) {
	f := newFixture(t, "snd: core", "core:")
	f.kernel.Fail = map[string]error{"core": unix.EIO}
	_, err := f.loader(t).Load(t.Context(), Request{Name: "snd"})
	var refused *InsertError
	if err == nil || err.Error() != "load snd: insert core: kernel refused it: input/output error" || !errors.As(err, &refused) || !errors.Is(err, unix.EIO) {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(filepath.Join(f.dir, "kernel/core.ko")); err != nil {
		t.Fatal(err)
	}
	_, err = f.loader(t).Load(t.Context(), Request{Name: "snd"})
	if err == nil || !strings.HasPrefix(err.Error(), "load snd: insert core: open ") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}
