package cnb

// A Plan is plan.toml: what the buildpacks of the chosen group provide to each other (platform, "plan.toml").
type Plan struct {
	Entries []PlanEntry `toml:"entries" json:"entries"`
}

// A PlanEntry is one dependency: who can provide it and what is required of it. All Requires have one name.
type PlanEntry struct {
	Providers []Provider `toml:"providers" json:"providers"`
	Requires  []Require  `toml:"requires" json:"requires"`
}

// A Provider is a buildpack that may meet a plan entry.
type Provider struct {
	Ref
	Extension bool `toml:"extension,omitempty" json:"extension,omitempty"`
}

// A Require is what a buildpack asks for in detect, and what the provider reads in build.
// Version is the deprecated top-level key (an error from Buildpack API 0.11 on).
type Require struct {
	Name     string `toml:"name" json:"name"`
	Version  string `toml:"version,omitempty" json:"version,omitempty"`
	Metadata Table  `toml:"metadata,omitempty" json:"metadata,omitempty"`
}

// A Provide names a dependency that a buildpack can supply.
type Provide struct {
	Name string `toml:"name" json:"name"`
}

// A BuildPlan is what bin/detect writes: its own needs plus alternatives (buildpack, "Build Plan (TOML)").
type BuildPlan struct {
	PlanSections
	Or []PlanSections `toml:"or" json:"or,omitempty"`
}

// PlanSections is one alternative of a BuildPlan.
type PlanSections struct {
	Provides []Provide `toml:"provides" json:"provides,omitempty"`
	Requires []Require `toml:"requires" json:"requires,omitempty"`
}

// A BuildpackPlan is what bin/build reads at CNB_BP_PLAN_PATH: the requires that this buildpack provides.
type BuildpackPlan struct {
	Entries []Require `toml:"entries"`
}
