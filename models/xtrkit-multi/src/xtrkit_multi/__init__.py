"""xtrkit-multi, an encoder of many languages: `xtrkit.json` and the files that it names lie beside this one."""
