package coldplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudev/kudev/hotplug"
)

// Modaliases lists what the devices below the sysfs root ask modules for: each modalias once, sorted, and the modules that drive them
// now, by name. Besides a real /sys it reads a copy of /sys/devices, links kept (cp -a), in which a driver's module is found by the
// driver's link alone: modules then lists the drivers' names where no module is named.
func Modaliases(ctx context.Context, roots hotplug.Roots) (aliases, modules []string, err error) {
	root := filepath.Join(roots.SysDir(), "devices")
	all, drivers := map[string]bool{}, map[string]bool{}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if path == root {
				return err
			}
			return nil // it went away, or is not for us to see
		}
		switch e.Name() {
		case "modalias":
			data, _ := os.ReadFile(path)
			if a := strings.TrimSpace(string(data)); a != "" && e.Type().IsRegular() {
				all[a] = true
			}
		case "uevent":
			data, _ := os.ReadFile(path)
			for line := range strings.Lines(string(data)) {
				if a, ok := strings.CutPrefix(strings.TrimSpace(line), "MODALIAS="); ok && a != "" {
					all[a] = true
				}
			}
		case "driver":
			if e.Type()&fs.ModeSymlink == 0 {
				return nil
			}
			if module, err := os.Readlink(path + "/module"); err == nil {
				drivers[filepath.Base(module)] = true
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if _, err := os.Stat(path); err != nil { // a copy without the bus directories
				if driver, err := os.Readlink(path); err == nil {
					drivers[filepath.Base(driver)] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the devices in %s: %w", roots.SysDir(), err)
	}
	sorted := func(set map[string]bool) (list []string) {
		for s := range set {
			list = append(list, s)
		}
		slices.Sort(list)
		return list
	}
	return sorted(all), sorted(drivers), nil
}
