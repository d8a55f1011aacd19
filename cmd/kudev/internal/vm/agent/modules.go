//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insert hands the kernel a module as a program does that takes no care: signals reach it while a driver waits.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// storm sends SIGCHLD and SIGURG, which Go's runtime takes for its own, to every thread of a process for as long as that lives.
func storm(process string) error {
	pid, err := strconv.Atoi(process)
	if err != nil {
		return err
	}
	sent := 0
	for {
		status, err := os.ReadFile(filepath.Join("/proc", process, "stat"))
		if err != nil || strings.Contains(string(status), ") Z ") {
			break
		}
		threads, err := os.ReadDir(filepath.Join("/proc", process, "task"))
		if err != nil {
			break
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			for range 50 {
				for _, s := range []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG} {
					if unix.Tgkill(pid, tid, s) == nil {
						sent++
					}
				}
			}
		}
	}
	fmt.Printf("%d signals\n", sent)
	return nil
}

// unload takes out every module that can be taken out, but for those that the file names.
func unload(keep string) error {
	data, err := os.ReadFile(keep)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for name := range strings.FieldsSeq(string(data)) {
		kept[name] = true
	}
	consoles, err := filepath.Glob("/sys/class/vtconsole/vtcon*/bind") // one on a frame buffer holds its driver
	if err != nil {
		return err
	}
	for _, c := range consoles {
		if name, err := os.ReadFile(filepath.Join(filepath.Dir(c), "name")); err == nil && strings.Contains(string(name), "frame buffer") {
			if err := os.WriteFile(c, []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for some := true; some; {
		some = false
		text, err := os.ReadFile("/proc/modules")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "0" && !kept[fields[0]] {
				some = unix.DeleteModule(fields[0], unix.O_NONBLOCK) == nil || some
			}
		}
	}
	return nil
}
