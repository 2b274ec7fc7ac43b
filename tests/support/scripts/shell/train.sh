# Arguments as they come: --lr first, by the order of names.
echo "loss=$2"
echo "$3 $4" > "$SM_MODEL_DIR/words"
