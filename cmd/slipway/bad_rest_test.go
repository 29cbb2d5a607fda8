package main

import "testing"

func badLimits(t *testing.T, y *yard)         {}
func badImages(t *testing.T, y *yard)         {}
func badRegistries(t *testing.T, y *yard)     {}
func badSources(t *testing.T, y *yard)        {}
func badDescriptors(t *testing.T, y *yard)    {}
func badFlags(t *testing.T, y *yard)          {}
func badEngines(t *testing.T, y *yard)        {}
func harmless(t *testing.T, y *yard)          {}
func interruptedBuilds(t *testing.T, y *yard) {}
