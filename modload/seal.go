package modload

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Seal ends all loading by kudev except of what the allow lines of kudev.conf name, until the machine starts anew: by the daemon, by the
// tools and for the kernel's own requests. forever ends it for everybody, what is allowed too, by setting kernel.modules_disabled,
// which the kernel never takes back.
func Seal(cfg *Config, forever bool) error {
	file := cfg.Path(SealFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	var allowed []string
	for _, p := range cfg.Allow() {
		allowed = append(allowed, p.Pattern)
	}
	text := "Loading of kernel modules has ended but for: " + strings.Join(allowed, " ") + "\n"
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if !forever {
		return nil
	}
	const disabled = "/proc/sys/kernel/modules_disabled"
	f, err := os.OpenFile(cfg.Path(disabled), os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if _, err := f.WriteString("1\n"); err != nil {
		f.Close()
		return fmt.Errorf("seal: %w", err)
	}
	return f.Close()
}
