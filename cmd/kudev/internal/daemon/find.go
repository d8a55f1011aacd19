package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// Connect connects to the daemon. One that is just starting, and has the lock but no socket yet, is waited for; the
// error satisfies errors.Is(err, ErrNoDaemon) when there is none.
func Connect(ctx context.Context, cfg *modload.Config, run string) (*Conn, error) {
	for {
		conn, err := Dial(run)
		if err == nil {
			return conn, nil
		}
		pid := cfg.DaemonPid()
		if pid == 0 || pid == os.Getpid() {
			return nil, ErrNoDaemon
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		select {
		case <-time.After(2 * time.Millisecond): // it has the lock: the socket is its next step
		case <-ctx.Done():
			return nil, fmt.Errorf("daemon %d does not answer: %w", pid, ctx.Err())
		}
	}
}

// passingName is the file below /run that says that the process, when it is the daemon, is one of a lone coldplug, and
// ends with it. It is there before the process takes the lock, and goes after it has left it.
func passingName(run string, pid int) string {
	return filepath.Join(run, "kudev", "passing."+strconv.Itoa(pid))
}

// sweepPassing removes such files of processes that were killed. One with this process's own number is another's, who had it before.
func sweepPassing(run string) {
	dir := filepath.Join(run, "kudev")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "passing.")
		pid, err := strconv.Atoi(number)
		if ok && err == nil && (pid == os.Getpid() || unix.Kill(pid, 0) == unix.ESRCH) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Passing tells whether the process that is the daemon now is there for a lone coldplug, and ends by itself, or has ended
// already.
func Passing(cfg *modload.Config, roots hotplug.Roots) bool {
	pid := cfg.DaemonPid()
	return pid == 0 || exists(passingName(roots.RunDir(), pid))
}
