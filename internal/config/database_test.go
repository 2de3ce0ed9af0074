package config_test

import (
	"strings"
	"testing"
	"time"

	"countersign/internal/config"
)

func TestTheDatabaseIsBounded(t *testing.T) {
	t.Parallel()
	var made config.Config // not by the command line
	_ = made.Check()
	c, err := parse("")
	if err != nil || c.Check() != nil || c.DatabaseConnections != 16 || c.DatabasePatience != 10*time.Second || made.DatabaseConnections != 16 || made.DatabasePatience != 10*time.Second {
		t.Errorf("without a setting: %d, %s; %d, %s; %v", c.DatabaseConnections, c.DatabasePatience, made.DatabaseConnections, made.DatabasePatience, err)
	}
	if c, err = parse("database_connections: 100\ndatabase_patience: 3s"); err != nil || c.Check() != nil || c.DatabaseConnections != 100 || c.DatabasePatience != 3*time.Second {
		t.Errorf("by a file: %d, %s, %v", c.DatabaseConnections, c.DatabasePatience, err)
	}
	for _, wrong := range []string{"database_connections: 1", "database_connections: 1001", "database_connections: -1", "database_patience: 999ms", "database_patience: 6m"} {
		c, err := parse(wrong)
		if err != nil {
			t.Fatal(err)
		}
		key, _, _ := strings.Cut(wrong, ":")
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
