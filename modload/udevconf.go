package modload

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// udevConfigFile is udev's own configuration. What kudev has, too, counts, below kudev.conf. See udev.conf(5).
const udevConfigFile = "/etc/udev/udev.conf"

// udevSetting is a setting of udev's in kudev's words; name is empty for what kudev has not. See udev.conf(5), and
// systemd-udevd.service(8) for the kernel command line.
func udevSetting(key, value string) (name, text string) {
	switch key {
	case "udev_log", "log_level", "log_priority":
		switch value {
		case "0", "1", "2", "3", "emerg", "alert", "crit":
			value = "err"
		case "4":
			value = "warning"
		case "5":
			value = "notice"
		case "6":
			value = "info"
		case "7":
			value = "debug"
		}
		return "log_level", value
	case "children_max":
		return "workers", value
	case "event_timeout":
		return "event_timeout", value
	}
	return "", ""
}

// readUdevFile reads udev.conf.
func (c *Config) readUdevFile() {
	data, err := readFile(c.Path(udevConfigFile))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.problems = append(c.problems, Problem{File: udevConfigFile, Text: cause(err).Error()})
		}
		return
	}
	for line := range parseConf(data) {
		if name, value := udevSetting(line.name, strings.Trim(line.value, "'")); name != "" {
			if err := c.set(name, value, Origin{Source: SourceFile, File: udevConfigFile, Line: line.number}); err != nil {
				c.problems = append(c.problems, Problem{udevConfigFile, line.number, err.Error()})
			}
		}
	}
}

// readUdevCommandLine takes udev.* and, in an initramfs, rd.udev.* from the kernel command line.
func (c *Config) readUdevCommandLine() {
	_, err := os.Stat(c.Path("/etc/initrd-release"))
	for key, value := range splitCommandLine(c.cmdline) {
		key, early := strings.CutPrefix(strings.ReplaceAll(key, "-", "_"), "rd.")
		key, udevs := strings.CutPrefix(key, "udev.")
		if !udevs || early && err != nil {
			continue
		}
		if name, text := udevSetting(key, value); name != "" {
			if err := c.set(name, text, Origin{Source: SourceCommandLine}); err != nil {
				c.problems = append(c.problems, Problem{File: commandLineName, Text: "udev." + key + ": " + err.Error()})
			}
		}
	}
}
