package modload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// InsertFile hands the kernel the module in a file, as insmod does: no dependencies, no configuration, no policy.
func InsertFile(kernel Kernel, path, parameters string, force InsertFlags) error {
	return insertFile(kernel, moduleName(path), path, parameters, force)
}

// insert hands the kernel one module of the tree. A module that somebody else was faster with is Live and no error.
func (l *Loader) insert(e Entry, parameters string, force InsertFlags) (State, error) {
	if e.Path == "" {
		return StateFailed, &NotFoundError{Name: e.Name}
	}
	err := insertFile(l.kernel, e.Name, e.Path, parameters, force)
	if errors.Is(err, unix.EEXIST) {
		return StateLive, nil
	}
	return StateLoaded, err
}

func insertFile(kernel Kernel, name, path, parameters string, force InsertFlags) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("insert %s: %w", name, err)
	}
	defer f.Close()
	end := func(...string) Evidence { return Evidence{} }
	if k, ok := kernel.(evidencer); ok {
		end = k.Attend()
	}
	err = hand(kernel, f, parameters, force)
	var errno unix.Errno
	if !errors.As(err, &errno) || errno == unix.EEXIST { // the usual: no need to look into the file
		end()
		switch {
		case err == nil:
			return nil
		case errno == unix.EEXIST:
			return &InsertError{name, path, "Module already in kernel", errno}
		}
		return fmt.Errorf("insert %s: read %s: %w", name, path, err)
	}
	m, damage := OpenModule(path)
	names := []string{name}
	if damage == nil {
		defer m.Close()
		if info, err := m.Info(); err == nil {
			names = append(names, info.Get("name")) // which may not be the file's
		}
	}
	return &InsertError{name, path, explain(errno, m, damage, end(names...)), errno}
}

// hand gives the kernel an open file: as it is where the kernel can read it, else decompressed and, where something is to be forced,
// stripped of it.
func hand(kernel Kernel, f *os.File, parameters string, force InsertFlags) error {
	var head [6]byte
	n, err := f.ReadAt(head[:], 0)
	if n == 0 && err != nil && !errors.Is(err, io.EOF) { // an empty file is for the kernel to refuse
		return err
	}
	c := detectCompression(head[:n])
	if c == Uncompressed || c.String() == kernel.Compression() {
		flags := force
		if c != Uncompressed {
			flags |= CompressedFile
		}
		err := kernel.Insert(f, parameters, flags)
		if !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	image, _, err := readImage(f, maxImage)
	if err != nil {
		return err
	}
	if force != 0 {
		if err := stripForced(image, force); err != nil {
			return fmt.Errorf("force: %w", err)
		}
	}
	return kernel.InsertImage(image, parameters)
}

// readAhead asks the kernel to have files in memory soon.
func readAhead(paths []string) {
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // it is met again, with a message
		}
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_WILLNEED)
		unix.Close(fd)
	}
}

// install runs the command of an install line: $CMDLINE_OPTS in it stands for the module's parameters.
func (l *Loader) install(ctx context.Context, line Line, parameters string) error {
	command := strings.ReplaceAll(line.Value, "$CMDLINE_OPTS", parameters)
	if err := l.options.Shell(ctx, command, []string{"MODPROBE_MODULE=" + line.Name}); err != nil {
		return fmt.Errorf("insert %s: install command (%s): %w", line.Name, line.Place(), err)
	}
	return nil
}

// Shell runs a command through /bin/sh with this process's own streams and environment, and env added to that.
func Shell(ctx context.Context, command string, env []string) error {
	c := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	c.Args[0] = "sh" // as system(3) calls it: it is in the shell's own messages
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), env...)
	return c.Run()
}
