// Package debian says where the script beside it, fetch, unpacks Debian's packages: for tests of several packages, and for the demo.
package debian

import (
	"fmt"
	"os"
	"path/filepath"
)

// Cache returns the directory in which each package has one: $KUDEV_DEBIAN, or kudev/debian in the user's cache directory.
func Cache() (string, error) {
	if dir := os.Getenv("KUDEV_DEBIAN"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find Debian's packages: %w (KUDEV_DEBIAN names their place)", err)
	}
	return filepath.Join(dir, "kudev", "debian"), nil
}
