package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// env is what a command has of the world. Tests give it another one.
type env struct {
	name           string // as errors begin: "kudev config", or "modprobe" when called so
	command        command
	udevadm        bool // as udevadm: misuse is exit status 1, and every command takes -V
	stdin          io.Reader
	stdout, stderr io.Writer
	options        modload.Options // the sources of the configuration, without a command's own flags
	roots          hotplug.Roots   // where /sys, /dev and /run are
}

func newEnv() *env {
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		options: modload.Options{LinkedRoot: moduleRoot},
	}
}

// interruptedReader is a reader of what may come late or never, such as a terminal: a Read ends with the context.
type interruptedReader struct {
	ctx    context.Context
	r      io.Reader
	buffer []byte
}

func (r *interruptedReader) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if r.ctx.Err() != nil {
		return 0, errInterrupted // and not, now and then, what is there to be read
	}
	if len(r.buffer) < len(p) {
		r.buffer = make([]byte, len(p)) // not p: the Read below may outlive this one, which is the last then
	}
	buffer, done := r.buffer[:len(p)], make(chan result, 1)
	go func() {
		n, err := r.r.Read(buffer)
		done <- result{n, err}
	}()
	select {
	case read := <-done:
		return copy(p, buffer[:read.n]), read.err
	case <-r.ctx.Done():
		return 0, errInterrupted
	}
}

var errInterrupted = errors.New("interrupted")

// treeFlags are the flags of every command that reads a module tree.
type treeFlags struct {
	roots   []string
	release []string // the last one counts
}

// treeFlags adds --module-root and --release to flags.
func (e *env) treeFlags(flags *pflag.FlagSet) *treeFlags {
	t := &treeFlags{}
	flags.StringArrayVar(&t.roots, "module-root", nil, "look for lib/modules/<release> in `DIR`; again: in this order")
	flags.StringArrayVar(&t.release, "release", nil, "the modules of this kernel `VERSION`, not of the running one")
	return t
}

// sources are the sources of the configuration with the flags that were given; t may be nil.
func (e *env) sources(t *treeFlags) modload.Options {
	options := e.options
	if t == nil {
		return options
	}
	options.Flags = slices.Clip(options.Flags)
	for _, dir := range t.roots {
		options.Flags = append(options.Flags, modload.Flag{Setting: "module_root", Value: dir, Name: "--module-root"})
	}
	for _, release := range t.release {
		options.Flags = append(options.Flags, modload.Flag{Setting: "release", Value: release, Name: "--release"})
	}
	return options
}

// resolve returns the configuration for a call with these flags, of a command that reads a tree; t may be nil. What is
// wrong with kudev.conf, and where a flag differs from the running daemon, is said on stderr.
func (e *env) resolve(t *treeFlags) (*modload.Config, error) {
	return e.resolveOptions(e.sources(t))
}

// resolveLive is resolve for a command that touches the running kernel: it refuses where this call would, without having
// been told so, do otherwise than the running daemon.
func (e *env) resolveLive(t *treeFlags) (*modload.Config, error) {
	cfg, err := e.resolve(t)
	if err != nil {
		return nil, err
	}
	return cfg, cfg.Conflict()
}

// resolveDaemon is resolve for a command that is to be the daemon, and follows no other's record. The daemon's own checks
// say what is wrong with kudev.conf.
func (e *env) resolveDaemon(t *treeFlags) (*modload.Config, error) {
	options := e.sources(t)
	options.Daemon = true
	return modload.Resolve(options)
}

// resolveOptions is resolve for a command whose flags are others, such as modprobe's -d and -S. One that touches the
// running kernel looks at [modload.Config.Conflict] next.
func (e *env) resolveOptions(options modload.Options) (*modload.Config, error) {
	cfg, err := modload.Resolve(options)
	if err != nil {
		return nil, err
	}
	log := e.logger(cfg)
	for _, p := range cfg.Problems() {
		log.Warn(p.Error())
	}
	for _, text := range cfg.Overrides() {
		log.Warn(text)
	}
	return cfg, nil
}

// logger returns the log of a command: to stderr, at the configured level.
func (e *env) logger(cfg *modload.Config) *log.Logger {
	return log.New(e.stderr, cfg.LogLevel(), e.name+": ")
}

// daemonLogger returns the log of a process that nobody looks at, such as a request of the kernel's.
func (e *env) daemonLogger(cfg *modload.Config) *log.Logger {
	return log.NewDaemon(e.stderr, cfg)
}
