# Watches over one world. Reads "add <pgid>" and "gone <pgid>" until its input ends, which happens when the harness
# is done or dead, whatever killed it; then kills the process groups that are left and removes the folder ($1).
trap '' INT TERM HUP
declare -A groups=()
while read -r verb group; do
  case "$verb" in
    add) groups[$group]=1 ;;
    gone) unset "groups[$group]" ;;
  esac
done
for group in "${!groups[@]}"; do kill -KILL -- "-$group" 2>/dev/null; done
rm -rf -- "$1"
