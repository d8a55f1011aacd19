package daemon

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/modload/modloadtest"
)

// loader is a daemon that can do no more than load modules: each of a tree answers to the alias "test:".
func loader(t *testing.T, kernel *modloadtest.Kernel, modules ...string) *loads {
	t.Helper()
	base := t.TempDir()
	for _, m := range modules {
		must(t, modloadtest.WriteModule(base+"/lib/modules/6.1.0-test/kernel/"+m+".ko", modloadtest.Module{Info: []string{"alias=test:"}}))
	}
	cfg, err := modload.Resolve(modload.Options{SystemRoot: base, Uname: func() (string, error) { return "6.1.0-test", nil }})
	must(t, err)
	l := newLoads(&Daemon{opts: Options{Kernel: kernel}, log: (*log.Logger)(nil)}, cfg)
	t.Cleanup(l.close)
	return l
}

func TestADriverWithoutADeviceHidesNoOthersFailure(t *testing.T) {
	kernel := &modloadtest.Kernel{Fail: map[string]error{"a": unix.ENODEV}}
	l := loader(t, kernel, "a", "b")
	e := &Entry{}
	must(t, l.load(t.Context(), "test:", e))
	kernel.Fail["b"] = unix.EINVAL
	must(t, kernel.Remove("b", false))
	if err := l.load(t.Context(), "test:", e); err == nil || !strings.Contains(err.Error(), "insert b") {
		t.Errorf("b's failure: %v", err)
	}
}
