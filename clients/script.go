package main

// A step is a command, what it must print, each wherever it likes, and how it must end.
type step struct {
	run  string
	exit int
	want []string
}

func does(run string, want ...string) step { return step{run, 0, want} }

func refuses(run string, exit int, want ...string) step { return step{run, exit, want} }

// script is the life of an app, as the client's users live it.
func script() []step {
	return []step{
		does("git init -q -b main ."),
		does("heroku auth:whoami", "admin"),
		does("heroku apps", "You have no apps."),
		does("heroku apps:create shop", "done", "http://localhost:5780/apps/shop | https://localhost:5780/shop.git"),
		refuses("heroku apps:create shop", 2, "is taken", "Error ID: conflict"),
		does("heroku apps", "admin Apps", "shop"),
		does("heroku apps:info -a shop", "=== shop", "Git URL: http://localhost:5780/shop.git", "Owner: admin", "Region: local", "Stack: cnb"),
		does("heroku apps:info -a shop --json", `"name": "shop"`),
		does("heroku apps:info -a shop --shell", "git_url=http://localhost:5780/shop.git", "stack=cnb"),
		does("heroku apps:stacks -a shop", "* cnb"),
		does("heroku regions", "local"),
		does("heroku access -a shop", "admin owner"),

		does("heroku config:set GREETING=hello COLOR=red -a shop", "done, v0", "GREETING: hello", "COLOR: red"),
		does("heroku config -a shop", "GREETING: hello", "COLOR: red"),
		does("heroku config:get GREETING -a shop", "hello"),
		does("heroku config:unset COLOR -a shop", "done, v0"),
		does("heroku config -a shop --json", `{ "GREETING": "hello" }`),

		does("heroku buildpacks:search", "slipway/nodejs", "slipway/static"),
		does("heroku buildpacks:search procfile", "slipway/procfile", "1 buildpack found"),
		does("heroku buildpacks:info slipway/static", "=== slipway/static"),
		does("heroku buildpacks:versions slipway/static", "0.1.0 published"),
		does("heroku buildpacks -a shop", "shop has no Buildpacks."),
		does("heroku buildpacks:set slipway/static -a shop", "Next release on shop will use slipway/static."),
		does("heroku buildpacks:add slipway/procfile -a shop", "1. slipway/static 2. slipway/procfile"),
		does("heroku buildpacks:add --index 1 slipway/nodejs -a shop", "1. slipway/nodejs 2. slipway/static 3. slipway/procfile"),
		refuses("heroku buildpacks:add slipway/static -a shop", 1, "already set on your app"),
		refuses("heroku buildpacks:add nobody/nothing -a shop", 2, "no buildpack of that name is in the builder"),
		refuses("heroku buildpacks:add https://example.com/classic.git -a shop", 2, "a buildpack by URL is none that this service can run"),
		does("heroku buildpacks:remove slipway/nodejs -a shop", "1. slipway/static 2. slipway/procfile"),
		does("heroku buildpacks -a shop", "1. slipway/static 2. slipway/procfile"),
		does("heroku buildpacks:clear -a shop", "Buildpacks cleared."),

		does("heroku releases -a shop", "v0 Initial release"),
		does("git add -A"),
		does("git commit -q -m one"),
		does("heroku git:remote -a shop", "set git remote heroku to", "@localhost:5780/shop.git"),
		does("git push heroku main", "slipway/static", "Released v1 of shop"),
		does("heroku releases -a shop", "Current: v1", "v1 Deploy"),
		does("git commit -q --allow-empty -m two"),
		does("git push heroku main", "Released v2 of shop"),
		does("heroku releases:info v1 -a shop", "=== Release v1", "By: admin", "Eligible for Rollback?: Yes", "GREETING: hello"),
		does("heroku releases:info -a shop", "=== Release v2"),
		does("heroku releases:output -a shop", "no release output available"),
		does("heroku releases:rollback v1 -a shop", "Rolling back shop to v1... done, v3"),
		does("heroku rollback -a shop", "done, v4"),
		refuses("heroku releases:rollback v9 -a shop", 2, "app shop has no release 9"),
		does("heroku releases -a shop", "Current: v4", "v4 Rollback to v2", "v3 Rollback to v1"),
		does("heroku config:set A=1 -a shop", "done, v4", "A: 1"),
		does("heroku apps:diff shop shop"),

		does("heroku addons -a shop", "No add-ons for app shop."),
		does("heroku addons", "No add-ons."),
		does("heroku domains -a shop", "shop"),
		does("heroku ps -a shop", "No dynos on shop"),
		does("heroku labs -a shop"),
		does("heroku features -a shop"),
		does("heroku pipelines"),
		does("heroku teams"),
		does("heroku certs -a shop", "shop has no SSL certificates."),
		does("heroku drains -a shop"),
		does("heroku maintenance -a shop", "off"),
		does("heroku webhooks:add -i api:build,api:release -l sync -u https://listener.example/x -a shop", "Adding webhook to shop... done", "whsec_"),
		does("heroku webhooks -a shop", "https://listener.example/x api:build,api:release sync"),
		does("heroku webhooks:deliveries -a shop", "shop has no deliveries"),
		does("heroku keys", "You have no SSH keys."),

		does("heroku apps:create temp --no-remote --buildpack urn:buildpack:slipway/static --stack cnb", "done, stack is cnb"),
		refuses("heroku apps:create other --no-remote --region eu", 2, "region: the only one here is local"),
		refuses("heroku apps:stacks:set heroku-24 -a temp", 2, "build_stack: the only one here is cnb"),
		does("heroku apps:rename temp2 -a temp", "Renaming temp to temp2... done"),
		refuses("heroku apps:rename shop2 -a shop", 2, "images of the app are at"),
		does("heroku apps:destroy temp2 --confirm temp2", "Destroying temp2", "done"),
		refuses("heroku apps:info -a temp2", 2, "not found"),
		does("heroku apps:destroy shop --confirm shop", "done"),
		does("heroku apps", "You have no apps."),
	}
}
