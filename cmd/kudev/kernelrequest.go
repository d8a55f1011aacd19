package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kudev/kudev/modload"
)

// kernelRequest returns the module that the kernel asks for when it is the kernel that calls: "PROGRAM -q -- NAME", where
// PROGRAM is what the daemon has registered, or kudev itself, or a modprobe that is a link to kudev, which kernel.modprobe
// names without any daemon. A person's modprobe -q -- NAME is none: its parent is no thread of the kernel's.
// Kernel: kernel/module/kmod.c, call_modprobe.
func kernelRequest(argv []string, calledByKernel func() bool) (name string, ok bool) {
	if len(argv) != 4 || argv[1] != "-q" || argv[2] != "--" || argv[3] == "" {
		return "", false
	}
	if argv[0] == modload.KernelProgram || !isApplet(filepath.Base(argv[0])) {
		return argv[3], true
	}
	return argv[3], filepath.Base(argv[0]) == "modprobe" && calledByKernel()
}

// parentIsKernel reports whether the parent is one of the kernel's threads: a worker, whose own parent is kthreadd.
func (e *env) parentIsKernel() bool {
	stat, err := os.ReadFile(filepath.Join(e.options.SystemRoot, "/proc", strconv.Itoa(os.Getppid()), "stat"))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // from the state on: see proc_pid_stat(5)
	return len(fields) > 6 && isKernelThread(fields[6])
}

func isKernelThread(flags string) bool {
	const kthread = 0x00200000 // include/linux/sched.h, PF_KTHREAD
	n, err := strconv.ParseUint(flags, 10, 64)
	return err == nil && n&kthread != 0
}

// runKernelRequest loads a module for the kernel. It goes by the record whatever else this process would think, and waits
// for nobody but the kernel: whoever asks may be a module's init that the daemon is waiting for.
func runKernelRequest(ctx context.Context, e *env, name string) error {
	options := e.options
	options.KernelRequest = true
	cfg, err := modload.Resolve(options)
	if err != nil {
		return err
	}
	log := e.daemonLogger(cfg).With("request", name)
	idx, err := modload.Open(cfg)
	if err != nil {
		log.Warn("kernel asks for a module: " + err.Error())
		return exitStatus(1)
	}
	_, err = modload.NewLoader(idx, modload.NewKernel(cfg), modload.LoaderOptions{Log: log}).Load(ctx, modload.Request{Name: name})
	var unknown *modload.NotFoundError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &unknown): // what is not there is the kernel's usual question
		log.Warn("kernel asks for a module: " + err.Error())
	}
	return exitStatus(1)
}
