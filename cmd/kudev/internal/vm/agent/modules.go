//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// writeModules writes what is in the kernel, by name: each module with its state, its users, what it taints the kernel with and the parameters
// that it shows. And what some of them make.
func writeModules(w io.Writer) error {
	states, err := filepath.Glob("/sys/module/*/initstate") // what is built in has none
	if err != nil {
		return err
	}
	slices.Sort(states)
	for _, file := range states {
		dir := filepath.Dir(file)
		read := func(name string) string {
			text, _ := os.ReadFile(filepath.Join(dir, name)) // some parameters may only be written
			return strings.TrimSpace(string(text))
		}
		fmt.Fprintf(w, "%s: %s, %s users%s", filepath.Base(dir), read("initstate"), read("refcnt"), names(filepath.Join(dir, "holders")))
		if taint := read("taint"); taint != "" {
			fmt.Fprintf(w, ", taint %s", taint)
		}
		fmt.Fprintln(w)
		parameters, err := os.ReadDir(filepath.Join(dir, "parameters"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, p := range parameters {
			fmt.Fprintf(w, "\t%s=%s\n", p.Name(), read(filepath.Join("parameters", p.Name())))
		}
	}
	for _, class := range []string{"/sys/class/net", "/sys/block"} {
		fmt.Fprintf(w, "%s:%s\n", class, names(class))
	}
	return nil
}

// names are those of a directory's entries, each behind a blank.
func names(dir string) string {
	var b strings.Builder
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		b.WriteString(" " + e.Name())
	}
	return b.String()
}

// insert hands the kernel a module as a program does that takes no care: signals reach it while a driver waits.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// storm sends SIGCHLD and SIGURG, which Go's runtime takes for its own, to every thread of a process for as long as that lives. It looks, too,
// at each thread that it meets in the system call that inserts a module, and says how many of them had not every signal blocked.
func storm(process string) error {
	sent, inserting, open := 0, 0, 0
	for {
		threads := threadsOf(process)
		if threads == nil {
			break
		}
		for _, t := range threads {
			if blocked, yes := t.inserts(); yes {
				inserting++
				if !blocked {
					open++
				}
			}
			for range 50 {
				if t.signal(unix.SIGCHLD) == nil && t.signal(unix.SIGURG) == nil {
					sent += 2
				}
			}
		}
	}
	fmt.Printf("%d signals; threads seen inserting: %d, with a signal open: %d\n", sent, inserting, open)
	return nil
}

// disturb waits until a thread of a process waits in the kernel for a module to be inserted, and sends it SIGURG. It returns when the kernel has
// done with that whatever it does, and says which: "left pending", or "ended the wait".
func disturb(process string) error {
	for {
		threads := threadsOf(process)
		if threads == nil {
			return errors.New("the process ended before it inserted a module")
		}
		for _, t := range threads {
			if _, yes := t.inserts(); !yes || t.status("State") != "S (sleeping)" {
				continue
			}
			if err := t.signal(unix.SIGURG); err != nil {
				return err
			}
			for {
				if _, still := t.inserts(); !still {
					fmt.Println("ended the wait")
					return nil
				}
				if pending, err := strconv.ParseUint(t.status("SigPnd"), 16, 64); err == nil && pending&(1<<(unix.SIGURG-1)) != 0 {
					if blocked, _ := t.inserts(); blocked {
						fmt.Println("left pending")
						return nil
					}
				}
			}
		}
	}
}

// A thread is one of a process, by its number.
type thread struct{ pid, tid int }

// threadsOf returns nil when the process has ended.
func threadsOf(process string) (threads []thread) {
	pid, err := strconv.Atoi(process)
	if err != nil {
		return nil
	}
	status, err := os.ReadFile(filepath.Join("/proc", process, "stat"))
	if err != nil || strings.Contains(string(status), ") Z ") {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Join("/proc", process, "task"))
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			threads = append(threads, thread{pid, tid})
		}
	}
	return threads
}

func (t thread) read(name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/%s", t.pid, t.tid, name))
	return string(text)
}

// status is a line of the thread's status. See proc(5).
func (t thread) status(name string) string {
	_, after, _ := strings.Cut(t.read("status"), "\n"+name+":\t")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// inserts says whether the thread is in finit_module or init_module, and whether every signal that can be is blocked then.
func (t thread) inserts() (blocked, yes bool) {
	before := t.read("syscall") // its number, arguments, stack and program counter; "running" while it is not waiting
	number, _, _ := strings.Cut(before, " ")
	if number != strconv.Itoa(unix.SYS_FINIT_MODULE) && number != strconv.Itoa(unix.SYS_INIT_MODULE) {
		return false, false
	}
	mask, err := strconv.ParseUint(t.status("SigBlk"), 16, 64)
	const never = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	return mask == ^uint64(never), err == nil && t.read("syscall") == before
}

func (t thread) signal(s syscall.Signal) error { return unix.Tgkill(t.pid, t.tid, s) }

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
