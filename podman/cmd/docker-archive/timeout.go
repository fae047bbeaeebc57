package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// limitTime ends a command that is about to run when the time of --command-timeout has
// passed.
func (g *globalOptions) limitTime(cmd *cobra.Command) error {
	if g.commandTimeout < 0 {
		return commandError{usagef("--command-timeout must not be negative"), cmd.CommandPath()}
	}
	if g.commandTimeout == 0 || cmd.RunE == nil {
		return nil
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), g.commandTimeout)
		defer cancel()
		cmd.SetContext(ctx)
		err := run(cmd, args)
		if err != nil && !errors.Is(err, errReported) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("the %v of --command-timeout have passed: %w", g.commandTimeout, err)
		}
		return err
	}
	return nil
}
