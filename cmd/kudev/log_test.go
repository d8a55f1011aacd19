package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

func TestALogLineIsForAPersonOrForAMachine(t *testing.T) {
	var b bytes.Buffer
	h := newLogHandler(&b, slog.LevelInfo, "kudev config: ")
	log := slog.New(h).With("device", "/devices/a b").WithGroup("event")
	log.Warn("failed\ntwice", "err", errors.New(`no "x"`), slog.Group("g", "n", 3))
	log.Debug("not said")
	if got, want := b.String(), "kudev config: failed twice device=\"/devices/a b\" event.err=\"no \\\"x\\\"\" event.g.n=3\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	b.Reset()
	h.levels, h.prefix, h.level = true, "", slog.LevelDebug
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, modload.LevelNotice, slog.LevelWarn, slog.LevelError} {
		slog.New(h).Log(t.Context(), level, "x")
	}
	if got := b.String(); got != "<7>x\n<6>x\n<5>x\n<4>x\n<3>x\n" {
		t.Errorf("levels: %q", got)
	}
}

func TestTheKernelsLogIsUsedWhereStderrLeadsNowhere(t *testing.T) {
	root := t.TempDir()
	kmsg := filepath.Join(root, "dev/kmsg")
	if err := errors.Join(os.Mkdir(filepath.Dir(kmsg), 0o755), os.WriteFile(kmsg, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	cfg, err := modload.Resolve(modload.Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	slog.New(newDaemonLogHandler(null, cfg, slog.LevelInfo)).Info("begin " + strings.Repeat("x", 2000))
	got, _ := os.ReadFile(kmsg)
	if !bytes.HasPrefix(got, []byte("<30>kudev: begin xxx")) || len(got) != maxKmsg+1 {
		t.Errorf("%d bytes: %.40q", len(got), got)
	}
	var b bytes.Buffer
	slog.New(newDaemonLogHandler(&b, cfg, slog.LevelInfo)).Info("ready")
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
	cfg, err := modload.Resolve(modload.Options{SystemRoot: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(newDaemonLogHandler(w, cfg, slog.LevelInfo))
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
