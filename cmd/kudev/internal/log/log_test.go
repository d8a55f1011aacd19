package log

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

func config(t *testing.T, root string) *modload.Config {
	t.Helper()
	cfg, err := modload.Resolve(modload.Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestALineIsForAPersonOrForAMachine(t *testing.T) {
	var b bytes.Buffer
	l := New(&b, modload.LevelInfo, "kudev config: ").With("device", "/devices/a b")
	l.Warn("failed\ntwice", "err", errors.New(`no "x"`), "n", 3, "took", 2*time.Second, "none", "")
	l.Debug("not said")
	if got, want := b.String(), "kudev config: failed twice device=\"/devices/a b\" err=\"no \\\"x\\\"\" n=3 took=2s none=\"\"\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	b.Reset()
	New(&b, modload.LevelInfo, "").Warn("serial \x1b[2J\r<0>forged", "model", "a\x1bb")
	if got, want := b.String(), "serial ?[2J?<0>forged model=\"a\\x1bb\"\n"; got != want { // what a device says of itself
		t.Errorf("wrote %q, want %q", got, want)
	}
	b.Reset()
	l = NewDaemon(&b, config(t, t.TempDir()))
	l.SetLevel(modload.LevelDebug)
	l.Debug("x")
	l.Info("x")
	l.Warn("x")
	l.Error("x")
	if got := b.String(); got != "<7>x\n<6>x\n<4>x\n<3>x\n" {
		t.Errorf("levels: %q", got)
	}
	if n := Syslog(modload.LevelNotice); n != 5 {
		t.Errorf("notice is %d", n)
	}
	b.Reset()
	with := l.With("a", "b")
	l.SetLevel(modload.LevelError)
	with.Warn("not said")
	if b.Len() > 0 {
		t.Errorf("said: %s", &b)
	}
	l = nil
	l.With("a", "b").Error("nobody hears it")
}

func TestTheKernelsLogIsUsedWhereStderrLeadsNowhere(t *testing.T) {
	root := t.TempDir()
	kmsg := filepath.Join(root, "dev/kmsg")
	if err := errors.Join(os.Mkdir(filepath.Dir(kmsg), 0o755), os.WriteFile(kmsg, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	NewDaemon(null, config(t, root)).Info("begin " + strings.Repeat("x", 2000))
	got, _ := os.ReadFile(kmsg)
	if !bytes.HasPrefix(got, []byte("<30>kudev: begin xxx")) || len(got) != maxKmsg+1 {
		t.Errorf("%d bytes: %.40q", len(got), got)
	}
	var b bytes.Buffer
	NewDaemon(&b, config(t, root)).Info("ready")
	if b.String() != "<6>ready\n" {
		t.Errorf("stderr: %q", b.String())
	}
}

func TestALogThatNobodyReadsHoldsNothingUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	log := NewDaemon(w, config(t, t.TempDir()))
	line := strings.Repeat("x", 1000)
	for range 10 {
		log.Info(line)
	}
	buf := make([]byte, 64<<10)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	taken := strings.Count(string(buf[:n]), "\n")
	log.Info("after")
	n, err = r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(buf[:n]), fmt.Sprintf("<4>%d lines were not logged: nobody read them\n<6>after\n", 10-taken); got != want || taken == 0 {
		t.Errorf("%d were taken; then: %q, want %q", taken, got, want)
	}
}
